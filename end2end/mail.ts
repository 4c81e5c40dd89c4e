// Receives the mails of a server under test (RFC 5321, as far as one sender goes).
import net from 'node:net';

export interface Mail {
  to: string;
  /** Head and body, lines joined that were broken for the wire. */
  text: string;
  /** The one-time link in it. */
  link: string;
}

export interface Mailbox {
  /** For GATEHOUSE_SMTP_URL. */
  url: string;
  /** The next mail to an address; it is taken out. */
  take(to: string): Promise<Mail>;
  stop(): Promise<void>;
}

export async function startMailbox(): Promise<Mailbox> {
  const mails: Mail[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => {});
    let to = '';
    let data: string[] | undefined;
    let rest = '';
    const say = (line: string) => socket.write(`${line}\r\n`);
    say('220 mailbox');
    socket.setEncoding('utf8').on('data', (part) => {
      const lines = (rest + part).split('\r\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (data) {
          if (line !== '.') {
            data.push(line.replace(/^\./, ''));
            continue;
          }
          const text = data.join('\n').replace(/=\n/g, '').replace(/=3D/g, '=');
          data = undefined;
          const link = /https?:\/\/\S+\/[\w-]{43}\b/.exec(text)?.[0] ?? '';
          mails.push({ to, text, link });
          say('250 taken');
        } else if (/^DATA/i.test(line)) {
          data = [];
          say('354 go on');
        } else if (/^QUIT/i.test(line)) {
          say('221 bye');
          socket.end();
        } else {
          to = /^RCPT TO:<([^>]*)>/i.exec(line)?.[1] ?? to;
          say('250 ok');
        }
      }
    });
  });
  await new Promise<void>((done, failed) => server.on('error', failed).listen(0, '127.0.0.1', done));
  const { port } = server.address() as net.AddressInfo;
  return {
    url: `smtp://127.0.0.1:${port}`,
    take: async (to) => {
      const end = Date.now() + 15_000;
      for (;;) {
        const at = mails.findIndex((mail) => mail.to.toLowerCase() === to.toLowerCase());
        if (at >= 0) return mails.splice(at, 1)[0];
        if (Date.now() > end) throw new Error(`no mail to ${to} came; there are ${mails.map((mail) => mail.to).join(', ')}`);
        await new Promise((done) => setTimeout(done, 50));
      }
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
