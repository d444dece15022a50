// An OpenID provider (oidc-provider) over HTTPS on a free port of localhost, as a hospital's would be set up for Asepsis.
//
//   node provider.mjs SETTINGS.json
//
// Applications get tokens by their secret or their certificate (RFC 8705), people by signing in with a password and, if they
// have one, a one-time code. Access tokens are JWTs (RFC 9068). Each line on stdin is a command, each on stdout an event:
//
//   {"event":"ready","issuer":…,"port":…}
//   rotate        new keys sign from now on; those before are still published, older ones no more   {"event":"rotated"}
//   fetches       how often the keys were fetched                                                   {"event":"fetches","count":N}
//
// SETTINGS.json: certificate, key, client_ca    files, PEM
//   resources  { "urn:…": { audience, alg, seconds, shift_s } }    what a token may be asked for; shift_s moves it in time
//   machines   { id: { secret | certificate_uri, bound, claims } }
//   people     { login: { password, code, claims, signed_in_ago_s } }

import { generateKeyPairSync, randomUUID, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

// The one application that people sign in to. Nobody listens there: the test reads the code from the redirect.
const VIEWER = 'viewer';
const REDIRECT = 'https://viewer.localhost/callback';
const SCOPE = 'infer';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const emit = (event, more = {}) => console.log(JSON.stringify({ event, ...more }));

const newKeys = () => {
  const pairs = {
    RS256: ['rsa', { modulusLength: 2048 }],
    PS256: ['rsa', { modulusLength: 2048 }],
    ES256: ['ec', { namedCurve: 'P-256' }],
    EdDSA: ['ed25519', {}],
  };
  return Object.entries(pairs).map(([alg, [type, options]]) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
    alg, use: 'sig', kid: `${alg}-${randomUUID()}`,
  }));
};

const clients = () => [
  {
    client_id: VIEWER,
    token_endpoint_auth_method: 'none',
    application_type: 'web',
    grant_types: ['authorization_code'],
    response_types: ['code'],
    redirect_uris: [REDIRECT],
  },
  ...Object.entries(settings.machines).map(([id, machine]) => ({
    client_id: id,
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    scope: SCOPE,
    tls_client_certificate_bound_access_tokens: machine.bound ?? false,
    ...(machine.certificate_uri
      ? { token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_san_uri: machine.certificate_uri }
      : { token_endpoint_auth_method: 'client_secret_basic', client_secret: machine.secret }),
  })),
];

const resourceServer = (resource) => {
  const { audience, alg, seconds = 300 } = settings.resources[resource];
  return {
    audience, scope: SCOPE, accessTokenFormat: 'jwt', accessTokenTTL: seconds, jwt: { sign: { alg } },
  };
};

// Who the token is about, and how that person has signed in (RFC 9068, section 2.2.1).
const extraTokenClaims = (ctx, token) => {
  if (token.kind === 'ClientCredentials') return settings.machines[token.clientId].claims;
  const { acr, amr, authTime } = ctx.oidc.entities.AuthorizationCode;
  return { acr, amr, auth_time: authTime, ...settings.people[token.accountId].claims };
};

// A token from another time: as an expired one is, without waiting for it.
const shift = (ctx, token, jwt) => {
  const seconds = settings.resources[token.resourceServer?.identifier()]?.shift_s ?? 0;
  jwt.payload.iat += seconds;
  jwt.payload.exp += seconds;
};

// The viewer belongs to the house: nobody is asked whether it may.
const loadExistingGrant = async (ctx) => {
  const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
  grant.addOIDCScope(`openid ${SCOPE}`);
  grant.addResourceScope(ctx.oidc.params.resource, SCOPE);
  await grant.save();
  return grant;
};

const newProvider = (issuer, keys) => new Provider(issuer, {
  clients: clients(),
  jwks: { keys },
  scopes: ['openid', SCOPE],
  acrValues: ['single-factor', 'multi-factor'],
  clientAuthMethods: ['client_secret_basic', 'tls_client_auth', 'none'],
  cookies: { keys: [randomUUID()] },
  findAccount: (_, id) => settings.people[id] && { accountId: id, claims: () => ({ sub: id }) },
  extraTokenClaims,
  formats: { customizers: { jwt: shift } },
  interactions: { url: (_, interaction) => `/sign-in/${interaction.uid}` },
  loadExistingGrant,
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    claimsParameter: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => resourceServer(resource),
      useGrantedResource: () => true,
    },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_san_uri'
        && ctx.socket.getPeerX509Certificate().subjectAltName === `URI:${expected}`,
    },
  },
});

const same = (given, expected) => {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
};

// What a page with two fields would post.
const signIn = async (provider, request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { login = '', password = '', code = '' } = Object.fromEntries(new URLSearchParams(body));
  const person = settings.people[login];
  if (!person || !same(password, person.password) || (code && !same(code, person.code))) {
    response.writeHead(401).end('who are you?');
    return;
  }
  const how = code
    ? { acr: 'multi-factor', amr: ['pwd', 'otp', 'mfa'] }
    : { acr: 'single-factor', amr: ['pwd'] };
  const ts = Math.floor(Date.now() / 1000) - (person.signed_in_ago_s ?? 0);
  await provider.interactionFinished(request, response, { login: { accountId: login, ts, ...how } });
};

let keys = newKeys();
let provider;
let answer;
let fetches = 0;

const server = createServer({
  cert: readFileSync(settings.certificate),
  key: readFileSync(settings.key),
  ca: readFileSync(settings.client_ca),
  requestCert: true,
  rejectUnauthorized: false,
}, (request, response) => {
  if (request.url === '/jwks') fetches += 1;
  if (request.method === 'POST' && request.url.startsWith('/sign-in/')) {
    signIn(provider, request, response).catch((error) => {
      console.error(error);
      response.writeHead(400).end();
    });
    return;
  }
  answer(request, response);
});

const serve = () => {
  provider = newProvider(`https://localhost:${server.address().port}`, keys);
  provider.on('server_error', (_, error) => console.error(error));
  answer = provider.callback();
};

server.listen(0, '127.0.0.1', () => {
  serve();
  emit('ready', { issuer: provider.issuer, port: server.address().port });
});

createInterface({ input: process.stdin }).on('line', (line) => {
  switch (line) {
    case 'rotate': {
      // The first that fits signs.
      keys = [...newKeys(), ...keys.slice(0, 4)];
      serve();
      emit('rotated');
      break;
    }
    case 'fetches':
      emit('fetches', { count: fetches });
      break;
    default:
      emit('error', { what: `what is ${line}?` });
  }
}).on('close', () => process.exit());
