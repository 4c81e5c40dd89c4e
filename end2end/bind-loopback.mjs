// Preloaded with `node --import`: a server that names no host listens on 127.0.0.1 instead of on every interface, and
// says on which port, so that it can be started with PORT=0. The MCP reference server calls listen(PORT), and tests
// must not open ports to the network.
import net from 'node:net';

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  const port = typeof args[0] === 'string' ? Number(args[0]) : args[0];
  if (Number.isInteger(port) && typeof args[1] !== 'string') {
    args.splice(0, 1, port, '127.0.0.1');
    this.once('listening', () => console.log(`listening on 127.0.0.1:${this.address().port}`));
  }
  return listen.apply(this, args);
};
