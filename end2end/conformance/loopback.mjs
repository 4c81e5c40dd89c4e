// Preloaded with `node --import` into the suite: its servers for clients name no host, so they would listen on every
// interface. They read their address at once, so it has to be there when `listen` returns.
import net from 'node:net';

const bind = net.Server.prototype._listen2;
net.Server.prototype._listen2 = function (address, port, family, ...rest) {
  return address || typeof port !== 'number' || port < 0 ? bind.call(this, address, port, family, ...rest) : bind.call(this, '127.0.0.1', port, 4, ...rest);
};
