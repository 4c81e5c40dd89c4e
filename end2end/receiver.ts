// A receiver of webhooks that verifies each delivery with the official library and answers as it is told.
import http from 'node:http';

import { Webhook } from 'standardwebhooks';

export interface Event {
  id: string;
  type: string;
  data: Record<string, unknown>;
}

export class Receiver {
  /** What was verified with `secret`, in its order. */
  readonly events: Event[] = [];
  /** How often something came that could not be verified. */
  refused = 0;
  /** `whsec_…`; before it is known nothing can be verified. */
  secret = '';
  /** The status of its answers. */
  status = 204;
  private readonly server: http.Server;

  private constructor() {
    this.server = http.createServer(async (request, response) => {
      let body = '';
      for await (const piece of request) body += piece;
      try {
        this.events.push(new Webhook(this.secret).verify(body, request.headers as Record<string, string>) as Event);
      } catch {
        this.refused += 1;
      }
      response.writeHead(this.status, { 'content-type': 'text/plain' });
      response.end(this.status === 204 ? undefined : `answered with ${this.status}`);
    });
  }

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    await new Promise<void>((done) => receiver.server.listen(0, '127.0.0.1', done));
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as { port: number }).port}/hook`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}
