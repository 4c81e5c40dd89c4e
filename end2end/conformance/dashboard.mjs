// The dashboard as a browser without scripts uses it.

/** A request of a page, or of a form on it. */
async function request(base, cookie, target, fields) {
  const headers = { Accept: 'text/html', Cookie: cookie, 'User-Agent': 'Mozilla/5.0 conformance', 'Sec-Fetch-Site': fields ? 'same-origin' : 'none' };
  const body = fields && new URLSearchParams(fields);
  return fetch(new URL(target, base), { method: fields ? 'POST' : 'GET', headers, body, redirect: 'manual' });
}

const cookies = (response) => response.headers.getSetCookie().map((line) => line.split(';')[0]);

/** The cookies of a person who has signed in. */
export async function signIn(base, email, password) {
  const page = await request(base, '', '/sign-in');
  const before = cookies(page).join('; ');
  const tag = /<input[^>]*name="csrf"[^>]*>/.exec(await page.text())?.[0];
  const csrf = /value="([^"]*)"/.exec(tag ?? '')?.[1];
  const answer = await request(base, before, '/sign-in?do=sign_in', { email, password, csrf });
  if (answer.status !== 303) throw new Error(`no sign-in: ${answer.status}`);
  return cookies(answer).join('; ');
}

/** One person's dashboard. */
export function dashboard(base, cookie) {
  const get = (target) => request(base, cookie, target);
  const post = (target, fields) => request(base, cookie, target, fields);
  const unescape = (text) => text.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&lt;', '<');
  const why = async (response) => {
    const text = await response.text();
    const said = [...text.matchAll(/class="(?:field-error|callout[^"]*)"[^>]*>([\s\S]*?)<\/(?:p|div)>/g)].map(([, said]) => said.replace(/<[^>]*>/g, ' '));
    return `${response.status} ${unescape(said.join(' ')).slice(0, 500)}`;
  };
  return {
    /** Adds a connector, whether or not its server answers; its id. */
    async add(slug, url) {
      const fields = { name: slug, slug, url, description: '', keep: 'on', sign_in: 'on' };
      const added = await post('/connectors/new?do=add_connector', fields);
      const id = /\/connectors\/([^/?]+)/.exec(added.headers.get('location') ?? '')?.[1];
      if (!id) throw new Error(`the connector was not added: ${await why(added)}`);
      return id;
    },
    /** Has it authenticate itself with OAuth, one sign-in for the organisation. */
    async credentials(id, { client_id = '', client_secret = '', scope = '', issuer = '' } = {}) {
      const fields = { id, kind: 'authorization_code', client_id, client_secret, scope, issuer };
      const saved = await post(`/connectors/${id}/credentials?do=put_credentials`, fields);
      if (saved.status !== 303) throw new Error(`the credentials were not saved: ${await why(saved)}`);
    },
    /** Goes to the authorization server and back. */
    async authorize(id) {
      const asked = await post(`/connectors/${id}/credentials?do=begin_authorization`, { id });
      const page = await asked.clone().text();
      const tag = page.split('<a').find((part) => part.includes('external noreferrer'));
      const link = /href="([^"]*)"/.exec(tag ?? '')?.[1];
      if (!link) throw new Error(`there is no way to sign in: ${await why(asked)}`);
      const there = await fetch(unescape(link), { redirect: 'manual' });
      const back = there.headers.get('location');
      if (!back) throw new Error(`the authorization server did not send anybody back: ${there.status}`);
      const home = new URL(back);
      if (home.origin !== new URL(base).origin) throw new Error(`sent elsewhere: ${home.origin}`);
      const returned = await get(home.pathname + home.search);
      if (!returned.headers.get('location')?.includes('notice=authorized')) throw new Error(`not authorised: ${await why(returned)}`);
    },
    /** Asks its server now. */
    async test(id) {
      return (await post(`/connectors/${id}?do=test_connector`, { id })).text();
    },
  };
}
