// An OpenID provider on 127.0.0.1 with one machine client; others may register. Whoever is sent to it says yes, as the
// person that login_hint names, else as Ada. With REDIRECT_URI there is a client `dashboard` that people log in with.
// Its key is new at every start, so that starting it again on the same port is a rotation. It says where it listens, and
// ends with its standard input.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

function about(id) {
  const email = id.includes('@') ? id : `${id}@acme.example`;
  return { email, email_verified: !id.startsWith('unverified'), name: `${id[0].toUpperCase()}${id.slice(1).split('@')[0]}` };
}

const server = createServer();
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'agent',
        client_secret: 'agent-secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
      ...(process.env.REDIRECT_URI
        ? [{ client_id: 'dashboard', client_secret: 'dashboard-secret', redirect_uris: [process.env.REDIRECT_URI] }]
        : []),
    ],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false,
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
    findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, ...about(id) }) }),
    scopes: ['openid', 'offline_access', 'tools'],
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    rotateRefreshToken: true,
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          audience: resource,
          scope: 'tools',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  const answer = provider.callback();
  const sayYes = async (request, response) => {
    const { params } = await provider.interactionDetails(request, response);
    const accountId = params.login_hint ?? 'ada';
    const grant = new provider.Grant({ accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    if (params.resource) grant.addResourceScope(params.resource, params.scope);
    const consent = { grantId: await grant.save() };
    await provider.interactionFinished(request, response, { login: { accountId }, consent });
  };
  server.on('request', (request, response) => {
    if (!request.url.startsWith('/interaction/')) return answer(request, response);
    return sayYes(request, response).catch((error) => {
      response.statusCode = 500;
      response.end(String(error));
    });
  });
  console.log(`listening on ${issuer}`);
});
process.stdin.on('end', () => process.exit()).resume();
