// Uses a passkey in a form: asks the server what to ask the authenticator, puts its answer into the form, and sends it.
// boot.js loads this when a [data-passkey] button is pressed for the first time.
const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const text = (buffer) => buffer && btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const decoded = (list) => list?.map((one) => ({ ...one, id: bytes(one.id) }));

const WHY = {
  NotAllowedError: 'No passkey was used: it was cancelled, or it took too long.',
  InvalidStateError: 'This device has a passkey of yours already.',
  SecurityError: 'Passkeys work only at the address that this site is meant to be opened by. Open it there.',
  TypeError: 'The server could not be reached. Try again.',
};

async function ask(purpose) {
  const reply = await fetch('/api/begin_passkey', {
    method: 'POST',
    headers: { Accept: 'application/json' },
    body: new URLSearchParams({ purpose }),
  });
  const told = await reply.json();
  if (!reply.ok) throw new Error(told.message || told.detail);
  const options = JSON.parse(told);
  options.challenge = bytes(options.challenge);
  options.allowCredentials = decoded(options.allowCredentials);
  options.excludeCredentials = decoded(options.excludeCredentials);
  if (options.user) options.user.id = bytes(options.user.id);
  return options;
}

async function answer(purpose) {
  const publicKey = await ask(purpose);
  const made = publicKey.user
    ? await navigator.credentials.create({ publicKey })
    : await navigator.credentials.get({ publicKey });
  const { response } = made;
  return JSON.stringify({
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    extensions: {},
    response: {
      clientDataJSON: text(response.clientDataJSON),
      ...(response.attestationObject
        ? { attestationObject: text(response.attestationObject), transports: response.getTransports?.() }
        : {
            authenticatorData: text(response.authenticatorData),
            signature: text(response.signature),
            userHandle: text(response.userHandle),
          }),
    },
  });
}

export default async (button) => {
  const [form, box] = [button.form, button.parentElement];
  const [field, told] = [box.querySelector('[name=passkey]'), box.querySelector('[role=status]')];
  if (button.ariaDisabled || !field) return;
  button.ariaDisabled = 'true';
  told.textContent = '';
  try {
    if (!navigator.credentials) throw new Error('This browser has no passkeys. Use one of the other ways.');
    field.value = await answer(button.dataset.passkey);
    form.requestSubmit();
    // It has been read: what is sent next is another attempt.
    field.value = '';
  } catch (error) {
    told.textContent = WHY[error.name] || error.message;
  } finally {
    button.ariaDisabled = null;
  }
};
