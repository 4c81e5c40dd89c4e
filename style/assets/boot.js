// What pages need before, and without, the wasm: copying, dialogs, passwords, menus, and forms that are sent once.
(() => {
  const d = document;
  const base = d.currentScript.src.replace(/[^/]*$/, '');
  const on = (type, act, o) => d.addEventListener(type, act, o);

  // One polite live region, outside of what is hydrated.
  const live = d.createElement('div');
  live.className = 'visually-hidden';
  live.setAttribute('role', 'status');
  const say = (text) => {
    if (!live.isConnected) d.documentElement.append(live);
    live.textContent = '';
    setTimeout(() => { live.textContent = text; }, 50);
  };

  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // Without HTTPS there is no clipboard to write to: the old way.
      const area = d.createElement('textarea');
      area.value = button.dataset.copy;
      (button.closest('dialog') || d.body).append(area);
      area.select();
      const done = d.execCommand('copy');
      area.remove();
      button.focus();
      if (!done) return say('Not copied. Select the text and copy it.');
    }
    const use = button.querySelector('use');
    const icon = use?.getAttribute('href');
    const word = button.querySelector('[data-word]')?.firstChild;
    const was = word?.data;
    if (!('copied' in button.dataset)) {
      button.dataset.copied = '';
      if (icon) use.setAttribute('href', icon.replace(/#.*/, '#check'));
      if (word) word.data = 'Copied';
      setTimeout(() => {
        delete button.dataset.copied;
        if (icon) use.setAttribute('href', icon);
        if (word) word.data = was;
      }, 2000);
    }
    say('Copied');
  };

  on('click', (event) => {
    const hit = (what) => event.target.closest?.(what);
    let el;
    if ((el = hit('[data-copy]'))) copy(el);
    else if ((el = hit('[data-show]'))) {
      const field = d.getElementById(el.dataset.show);
      const show = field.type === 'password';
      field.type = show ? 'text' : 'password';
      el.setAttribute('aria-pressed', show);
      el.textContent = show ? 'Hide' : 'Show';
    } else if ((el = hit('[data-dialog]')) && !(event.ctrlKey || event.metaKey || event.shiftKey || event.button)) {
      const dialog = d.getElementById(el.dataset.dialog);
      if (dialog) {
        event.preventDefault();
        dialog.showModal();
      }
    } else if ((el = hit('[data-passkey]'))) {
      import(`${base}passkey.js`).then((passkey) => passkey.default(el), () => say('Not loaded. Try again.'));
    } else if (!('command' in HTMLButtonElement.prototype) && (el = hit('[commandfor]'))) {
      const dialog = d.getElementById(el.getAttribute('commandfor'));
      if (el.getAttribute('command') === 'show-modal') dialog.showModal();
      else dialog.close();
    } else if ((el = hit('dialog:modal')) && event.target === el && !('closedBy' in el)) el.close();

    // Menus close when something else, or something in them, is chosen.
    const menu = hit('details.menu');
    for (const open of d.querySelectorAll('details.menu[open]')) {
      if (open !== menu || (hit('.menu-list') && hit('a'))) open.open = false;
    }
    if (hit('a')) hit('[popover]')?.hidePopover?.();
  });

  on('keydown', (event) => {
    if (event.key !== 'Escape') return;
    const menu = d.activeElement?.closest('details.menu[open]') || d.querySelector('details.menu[open]');
    if (menu) {
      menu.open = false;
      menu.querySelector('summary').focus();
    }
  });

  // The exact time here, beside UTC.
  on('pointerover', (event) => {
    const time = event.target.closest?.('time[datetime]');
    if (time && !time.dataset.local) {
      time.dataset.local = '1';
      time.title = `${new Date(time.dateTime).toLocaleString()} here\n${time.title}`;
    }
  });

  // A form that edits something stored, and was touched: `.unsaved` in it says so. Leaving asks first.
  const touched = () => d.querySelectorAll('form[data-dirty]');
  on('input', (event) => {
    const form = event.target.form;
    if (!form?.querySelector('.unsaved') || 'dirty' in form.dataset) return;
    form.dataset.dirty = '';
    say('Unsaved changes');
  });
  on('reset', (event) => { delete event.target.dataset.dirty; });
  on('click', (event) => {
    const link = event.target.closest?.('a[href]');
    if (!link || link.target || 'dialog' in link.dataset || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (!touched().length || link.href.split('#')[0] === location.href.split('#')[0]) return;
    if (confirm('Leave without saving your changes?')) touched().forEach((form) => { delete form.dataset.dirty; });
    else {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  }, true);
  addEventListener('beforeunload', (event) => { if (touched().length) event.preventDefault(); });

  // After a change the page's data is loaded again, and forms may be made anew meanwhile: what is being typed moves along.
  const typed = new Map();
  const placeOf = ({ form, name, type, value }) => JSON.stringify([
    location.pathname, form.getAttribute('action'), ...[...form.querySelectorAll('[type=hidden]')].map((el) => el.name + el.value),
    name, /checkbox|radio/.test(type) && value,
  ]);
  let focused = null;
  on('focusin', (event) => { focused = event.target; });
  on('input', ({ target }) => {
    if (target.form?.method === 'post' && target.name && target.type !== 'file') typed.set(target, placeOf(target));
  });
  on('submit', (event) => { for (const el of event.target.elements) typed.delete(el); });
  new MutationObserver(() => {
    for (const [old, place] of typed) {
      if (old.isConnected) continue;
      typed.delete(old);
      const el = [...d.querySelectorAll('form [name]')].find((el) => el.form && placeOf(el) === place);
      if (!el) continue;
      if (/checkbox|radio/.test(el.type)) el.checked = old.checked;
      else el.value = old.value;
      if (focused === old) {
        el.focus();
        if (old.selectionStart != null) el.setSelectionRange(old.selectionStart, old.selectionEnd);
      }
      el.dispatchEvent(new Event('input', { bubbles: true }));
    }
  }).observe(d, { childList: true, subtree: true });

  // What was just done is told once: not again after a reload, and not to whoever is sent the address.
  setInterval(() => {
    if (!('hydrated' in d.documentElement.dataset)) return;
    const url = new URL(location.href);
    const told = ['notice', 'enabled', 'disabled'].filter((name) => url.searchParams.has(name));
    if (!told.length) return;
    told.forEach((name) => url.searchParams.delete(name));
    history.replaceState(history.state, '', url);
  }, 1000);

  // A form that leaves the page is sent once. The app's own handler has cancelled the event if it took it.
  on('submit', (event) => {
    const form = event.target;
    // What answers with a file leaves the page where it is, and may be sent again.
    if (event.defaultPrevented || form.method !== 'post' || 'file' in form.dataset) return;
    if ('sent' in form.dataset) event.preventDefault();
    else {
      form.dataset.sent = '';
      delete form.dataset.dirty;
    }
  });
  // What others change meanwhile: the server tells that there is news, and the page loads it when nobody is disturbed by it.
  // The request log tells how much is new, and its Refresh button loads it.
  let source = null;
  let fresh = 0;
  let pill = null;
  let left = null;
  const show = () => {
    fresh = 0;
    pill?.remove();
    const form = d.querySelector('[data-watch] form');
    if (form) form.requestSubmit();
    else dispatchEvent(new Event('stale'));
  };
  const load = () => {
    if (!fresh || !('hydrated' in d.documentElement.dataset)) return;
    const el = d.querySelector('[data-watch]');
    const busy = el ? d.querySelector('.table tbody:hover, .filters :focus')
      : d.querySelector('dialog[open], details.menu[open], form[data-dirty], main :focus:not(h1)') || typed.size;
    if (el) el.querySelector('[data-watch-state]').textContent = busy ? `${fresh} new` : 'Live';
    else if (busy && !pill?.isConnected) {
      pill = d.createElement('button');
      pill.className = 'button news';
      pill.textContent = 'Something has changed: show it';
      pill.onclick = show;
      d.body.append(pill);
      say('Something has changed on this page');
    }
    if (!busy) show();
  };
  setInterval(() => {
    const el = d.hidden ? null : d.querySelector('[data-watch]') || d.querySelector('[data-live]');
    const url = el && (el.dataset.live ? `${el.dataset.live}?at=${location.pathname}${encodeURIComponent(location.search)}` : el.dataset.watch + location.search);
    if (source && (!url || !source.url.endsWith(url))) {
      source.close();
      // Whoever comes back to a page has missed what happened meanwhile.
      left = d.hidden && source.url;
      source = null;
      fresh = 0;
      pill?.remove();
    }
    if (url && !source) {
      source = new EventSource(url);
      if (source.url === left) fresh = 1;
      left = null;
      const heard = (event) => { fresh += +event.data; load(); };
      source.addEventListener('new', heard);
      source.addEventListener('stale', heard);
      source.onopen = () => {
        const state = d.querySelector('[data-watch-state]');
        if (state && !state.textContent) state.textContent = 'Live';
      };
    } else load();
  }, 1000);
  // What is under way is looked at again, as its button does.
  setInterval(() => {
    if (!d.hidden && 'hydrated' in d.documentElement.dataset) d.querySelector('[data-again] form')?.requestSubmit();
  }, 1500);
  // A file that is chosen is put into the field that takes its text.
  on('change', async ({ target }) => {
    const area = target.dataset?.into && d.querySelector(`textarea[name="${target.dataset.into}"]`);
    if (!area || !target.files[0]) return;
    area.value = await target.files[0].text();
    area.dispatchEvent(new Event('input', { bubbles: true }));
    say('The file is in the field below.');
  });
  addEventListener('pageshow', () => {
    for (const form of d.querySelectorAll('form[data-sent]')) delete form.dataset.sent;
  });
})();
