// What the page of the admin interface does: it asks, shows and, when told so twice, ends a connection.
'use strict';
// What clients have chosen, as identities, only ever becomes text: textContent, and no markup.
const $ = id => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const drawn = (tag, attributes) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const meanings = JSON.parse($('meanings').textContent);
const CLASSES = ['peer', 'lost', 'stuck', 'slow', 'protocol', 'local', 'upstream'];
const number = value => Number(value).toLocaleString('en');
const rate = value => (value < 10 ? value.toFixed(1) : number(Math.round(value)));
const sum = values => values.reduce((total, value) => total + value, 0);
const whose = row => row.identity || row.id || row.key;
function span(seconds) {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const [big, small, unit, rest] = seconds < 3600 ? [60, 1, 'min', 's'] : seconds < 86400 ? [3600, 60, 'h', 'min'] : [86400, 3600, 'd', 'h'];
  return `${Math.floor(seconds / big)} ${unit} ${Math.floor((seconds % big) / small)} ${rest}`;
}
function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  for (; count >= 1024 && at < 4; at += 1) count /= 1024;
  return `${at && count < 100 ? count.toFixed(1) : number(Math.round(count))} ${units[at]}`;
}
const clock = time => new Date(time).toLocaleTimeString('en-GB');

// ---- Asking the server
let token = sessionStorage.getItem('linger-token') || '';
class Refused extends Error {}
async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  if (answer.status === 401 && !$('login').open) $('login').showModal();
  if (!answer.ok) throw Object.assign(new Refused((await answer.text()).trim()), { status: answer.status });
  return answer;
}
const json = async path => (await ask(path)).json();
const query = fields => new URLSearchParams(Object.entries(fields).filter(([, value]) => value)).toString();
const problems = {};
// Each part of the page has its own problem, or none.
function problem(of, text = '') {
  problems[of] = text;
  const all = [...new Set(Object.values(problems).filter(Boolean))].join('; ');
  if ($('problem').textContent !== all) $('problem').textContent = all;
}
const said = error => (error instanceof Refused ? error.message : 'the server does not answer; trying again');

// Asks again and again, not while nobody looks, and the less often the longer the answer takes: at most a twentieth of the time.
function repeat(of, work) {
  let timer = 0, running = false, asked = false;
  const run = async () => {
    clearTimeout(timer);
    asked = running;
    if (running) return;
    running = true;
    const begun = performance.now();
    await work().then(() => problem(of), error => problem(of, said(error)));
    running = false;
    if (!document.hidden) timer = setTimeout(run, asked ? 0 : Math.max(5000, 20 * (performance.now() - begun)));
  };
  document.addEventListener('visibilitychange', () => document.hidden || run());
  run();
  return run;
}

// ---- Tables keep the rows that stay: who has the focus on one keeps it.
function fill(table, rows, keyOf, cellsOf) {
  const body = $(table).tBodies[0];
  const old = new Map([...body.rows].map(row => [row.dataset.key, row]));
  rows.forEach((row, at) => {
    const key = keyOf(row);
    const line = old.get(key) || make('tr');
    line.dataset.key = key;
    old.delete(key);
    cellsOf(row).forEach((cell, column) => {
      const given = typeof cell === 'object' ? cell : { text: cell };
      let place = line.cells[column];
      if (!place) {
        place = line.appendChild(make('td', { className: $(table).tHead.rows[0].cells[column].className }));
        if (given.open) place.append(make('button', { type: 'button' }));
      }
      const target = given.open ? place.firstChild : place;
      if (given.open) target.onclick = given.open;
      if (target.textContent !== String(given.text)) target.textContent = given.text;
      place.classList.toggle('bad', Boolean(given.bad));
      place.title = given.title || '';
    });
    if (body.rows[at] !== line) body.insertBefore(line, body.rows[at] || null);
  });
  old.forEach(line => line.remove());
}

// ---- Figures
const BIN_MS = 5000, BINS = 60;
const bins = new Map();
let before = null, uptime = 0;
function readMetrics(text) {
  const found = {};
  for (const [, name, labels, value] of text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    if (name.endsWith('_bucket')) continue;
    const sample = { value: Number(value) };
    for (const [, label, of] of (labels || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) sample[label] = of.replace(/\\(.)/g, '$1');
    (found[name] ||= []).push(sample);
  }
  return found;
}
function count(at, kind, many) {
  const bin = Math.floor(at / BIN_MS);
  if (!bins.has(bin)) bins.set(bin, {});
  bins.get(bin)[kind] = (bins.get(bin)[kind] || 0) + many;
}
async function figures() {
  const found = readMetrics(await (await ask('/metrics')).text());
  const all = name => found[`linger_${name}`] || [];
  const one = name => (found[name] || found[`linger_${name}`] || [{ value: 0 }])[0].value;
  const listeners = all('listener_connections').filter(sample => sample.protocol !== 'http');
  const names = listeners.map(sample => sample.listener);
  const ofClients = name => all(name).filter(sample => names.includes(sample.listener));
  const of = (name, listener) => (all(name).find(sample => sample.listener === listener) || { value: 0 }).value;
  const now = { at: Date.now(), cpu: one('process_cpu_seconds_total'), opened: sum(ofClients('connections_accepted_total').map(s => s.value)),
    ends: {}, reasons: {} };
  for (const sample of ofClients('ends_total')) {
    now.ends[sample.class] = (now.ends[sample.class] || 0) + sample.value;
    now.reasons[sample.reason] = (now.reasons[sample.reason] || 0) + sample.value;
  }
  now.ended = sum(Object.values(now.ends));
  // A server that was started anew counts from 0.
  const since = before && one('uptime_seconds') >= uptime && now.ended >= before.ended ? before : null;
  uptime = one('uptime_seconds');
  const seconds = since ? Math.max(0.001, (now.at - since.at) / 1000) : 1;
  // What ended while nobody looked is spread over that time.
  const steps = Math.min(BINS, Math.max(1, Math.round(seconds * 1000 / BIN_MS)));
  for (let step = 0; since && step < steps; step += 1) {
    for (const kind of CLASSES) count(now.at - step * BIN_MS, kind, ((now.ends[kind] || 0) - (since.ends[kind] || 0)) / steps);
  }
  before = now;
  const inState = state => sum(all('connections').filter(sample => sample.state === state).map(sample => sample.value));
  tiles({
    [`Connections, of ${number(one('connections_max'))}`]: number(sum(listeners.map(s => s.value))),
    'Opened / s': since ? rate((now.opened - since.opened) / seconds) : '–',
    'Ended / s': since ? rate((now.ended - since.ended) / seconds) : '–',
    Open: number(inState('open')), Suspect: number(inState('suspect')), Handshaking: number(inState('handshaking')),
    Closing: number(inState('closing') + inState('peer_closed')),
    Unsent: bytes(one('output_waiting_bytes')), Memory: bytes(one('process_resident_memory_bytes')),
    CPU: since ? `${rate(Math.max(0, now.cpu - since.cpu) / seconds * 100)} %` : '–', 'Up for': span(uptime).split(' ').slice(0, 2).join(' '),
  });
  fill('listeners', listeners, row => row.listener, row => [row.listener, row.protocol, number(row.value),
    `${number(of('accept_queue_length', row.listener))} / ${number(of('accept_queue_limit', row.listener))}`,
    of('accept_stalled', row.listener) ? { text: 'does not accept', bad: true } : 'accepts']);
  choices('listener', names);
  choices('state', all('connections').map(sample => sample.state));
  workers(all);
  await upstreams(all('upstream_up').length > 0);
  bars();
  fill('reasons', Object.entries(now.reasons).filter(([, many]) => many).sort((a, b) => b[1] - a[1]), row => row[0],
    ([reason, many]) => [reason, number(many), (meanings[reason] || [''])[0]]);
  const version = (all('build_info')[0] || {}).version;
  const status = `${version}, ${one('draining') ? 'draining' : 'running'}${streaming ? ', live' : ''}`;
  if ($('status').textContent !== status) $('status').textContent = status;
}
function tiles(values) {
  Object.entries(values).forEach(([name, value], at) => {
    const tile = $('tiles').children[at] || $('tiles').appendChild(make('div', {}, make('dt'), make('dd')));
    tile.firstChild.textContent = name;
    tile.lastChild.textContent = value;
  });
}
function choices(id, names) {
  for (const name of names) {
    if (![...$(id).options].some(option => option.value === name)) $(id).append(make('option', { value: name, textContent: name }));
  }
}
function workers(all) {
  const of = (name, worker) => (all(name).find(sample => sample.worker === worker) || { value: 0 }).value;
  const up = all('worker_up');
  $('workers').hidden = !up.length;
  fill('workers', up, row => row.worker, ({ worker, value }) => [worker, number(of('worker_connections', worker)),
    number(of('worker_restarts_total', worker)),
    !value ? { text: 'does not answer', bad: true } : of('worker_stalled', worker) ? { text: 'stalled', bad: true } : 'up']);
}
async function upstreams(some) {
  const told = some ? (await json('/upstreams')).upstreams : [];
  const rows = told.flatMap(upstream => upstream.servers.map(server => ({ upstream: upstream.name, ...server })));
  $('upstreams').hidden = !rows.length;
  fill('upstreams', rows, row => `${row.upstream} ${row.address}`, row => [`${row.upstream}: ${row.address}`, number(row.connections),
    row.operator, number(sum(Object.values(row.failed || {}))),
    { text: row.down_by ? `${row.state}: ${row.down_by}` : row.state, bad: row.state !== 'up' }]);
}
function bars() {
  const last = Math.floor(Date.now() / BIN_MS);
  for (const bin of bins.keys()) if (bin <= last - BINS) bins.delete(bin);
  const most = Math.max(1, ...[...bins.values()].map(bin => sum(Object.values(bin))));
  const total = kind => Math.round(sum([...bins.values()].map(bin => bin[kind] || 0)));
  $('bars').replaceChildren(...[...bins].flatMap(([bin, counts]) => {
    let top = 100;
    return CLASSES.filter(kind => counts[kind]).map(kind => {
      const height = counts[kind] / most * 96;
      top -= height;
      return drawn('rect', { class: kind, x: (bin - last + BINS - 1) * 10, y: top, width: 9, height });
    });
  }));
  const some = CLASSES.filter(total);
  $('bars').setAttribute('aria-label', `Endings in the last 5 minutes: ${some.map(kind => `${total(kind)} ${kind}`).join(', ') || 'none'}`);
  $('most').textContent = some.length ? `at most ${number(Math.ceil(most))} in 5 s` : 'none';
  $('legend').replaceChildren(...some.map(kind => {
    const key = drawn('svg', { class: 'key', viewBox: '0 0 10 10', 'aria-hidden': 'true' });
    key.append(drawn('rect', { class: kind, width: 10, height: 10 }));
    return make('li', {}, key, ` ${kind} ${number(total(kind))}`);
  }));
}

// ---- Who is meant
function whom() {
  const text = $('whom').value.trim();
  const address = text.replace(/^\[|\].*$|\/\d+$/g, '');
  const isV6 = /^[\da-f:.]+$/i.test(address) && (address.includes('::') || address.split(':').length === 8);
  const isPeer = text === 'unix' || isV6 || /^\d+(\.\d+){3}(:\d+|\/\d+)?$/.test(text);
  const name = /^(\d+\.)?\d+-\d+$/.test(text) ? 'key' : isPeer ? 'peer' : 'identity';
  return { [name]: text, listener: $('listener').value };
}
let limit = 100;
async function connections() {
  const list = await json(`/connections?${query({ ...whom(), state: $('state').value, limit, clients: 'true' })}`);
  const rows = list.connections;
  $('count').textContent = `${number(rows.length)} of ${number(list.matched)}`;
  $('more').hidden = list.listed >= list.matched || limit > 100;
  fill('connections', rows, row => row.key, row => [{ text: whose(row), title: row.key, open: () => open(row, false) }, row.peer, row.listener,
    { text: row.verdict ? `${row.state}: ${row.verdict}` : row.state, bad: row.state === 'suspect' }, span(row.silence_s), span(row.age_s), `${bytes(row.bytes_in)} / ${bytes(row.bytes_out)}`]);
}

// ---- Endings
let ends = new Map();
async function lastEnds() {
  const asked = query({ ...whom(), limit: 20 });
  const list = await json(`/ends?${asked}`);
  // The filter was changed meanwhile.
  if (query({ ...whom(), limit: 20 }) !== asked) return;
  ends = new Map(list.ends.map(end => [end.key, end]));
  $('kept').textContent = list.history_bytes ? '' : 'server.history is off: only what ends from now on';
  showEnds();
}
function showEnds() {
  fill('ends', [...ends.values()], end => end.key, end => [clock(end.time),
    { text: whose(end), title: end.key, open: () => open(end, true) },
    { text: end.reason, title: (meanings[end.reason] || []).join(' ') }, span(end.age_s)]);
}
async function pastBars() {
  for (const end of (await json('/ends?limit=1000&last=5m')).ends) count(Date.now() - end.ago_s * 1000, end.reason.split('.')[0], 1);
}

// ---- Events
let lastId = '', cut = null, pending = [], streaming = false, changed = false;
const ALWAYS = 'suspect,verdict,revived,replaced,ended,stalled,drain,reload,server_up,server_down,worker_started,worker_ended';
const COMMON = ['number', 'event', 'time', 'worker', 'key', 'peer', 'listener', 'identity'];
function told(name, data) {
  const text = value => (typeof value === 'object' ? JSON.stringify(value) : value);
  if (name === 'suspect') return `${data.detector}: silent for ${span(data.silence_s)}`;
  if (name === 'verdict') return `${data.reason} by ${data.detector}, and kept; silent for ${span(data.silence_s)}`;
  if (name === 'replaced') return `by ${data.by_key} from ${data.by_peer}`;
  if (name === 'ended') return `${data.reason} by ${data.detector}, ${data.close}; lived ${span(data.age_s)}`;
  return Object.entries(data).filter(([field, value]) => !COMMON.includes(field) && value !== null)
    .map(([field, value]) => `${field.replace(/_s$/, '')} ${text(value)}`).join(', ');
}
function message(text) {
  // Lines end by \n alone: others may stand in a text.
  const field = name => (text.split('\n').find(line => line.startsWith(`${name}: `)) || '').slice(name.length + 2);
  lastId = field('id') || lastId;
  const name = field('event');
  if (!name || !field('data')) return;
  const data = JSON.parse(field('data'));
  const missed = data.missed === null ? 'the server was started anew: what happened meanwhile is not known' : `${data.missed} had to make way`;
  if (name === 'start' ? data.missed !== 0 && changed : name === 'dropped') pending.push(`${clock(Date.now())} ${missed}`);
  if (name === 'start' && data.missed !== 0 && changed) showAll();
  if (name === 'start' || name === 'dropped') return;
  if (name === 'ended') {
    // A server that was started anew gives keys again that it gave before.
    ends.delete(data.key);
    ends = new Map([[data.key, data], ...ends].slice(0, 20));
    const row = [...$('connections').tBodies[0].rows].find(line => line.dataset.key === data.key);
    if (row && !row.contains(document.activeElement)) row.remove();
    if ($('detail').open && shown && shown.key === data.key) open(data, true);
  }
  pending.push([clock(data.time), name, data.key && (data.identity || `${data.key} (${data.peer})`), told(name, data)].filter(Boolean).join(' '));
}
// Not one by one: a crowd that leaves must not hold up who looks, or be read out for an hour.
setInterval(() => {
  if (!pending.length || $('pause').getAttribute('aria-pressed') === 'true') { pending = pending.slice(-100); return; }
  const lines = pending.slice(-20);
  if (pending.length > lines.length) lines.unshift(`and ${number(pending.length - lines.length)} more`);
  pending = [];
  $('log').prepend(...lines.reverse().map(text => make('li', { textContent: text })));
  while ($('log').children.length > 100) $('log').lastChild.remove();
}, 1000);
setInterval(showEnds, 1000);
const visible = () => new Promise(done => {
  const look = () => document.hidden || (document.removeEventListener('visibilitychange', look), done());
  document.addEventListener('visibilitychange', look);
  look();
});
async function watch() {
  for (;;) {
    await visible();
    cut = new AbortController();
    try {
      const fields = { ...whom(), event: $('all').checked ? '' : ALWAYS, after: lastId };
      const answer = await ask(`/events?${query(fields)}`, { signal: cut.signal });
      problem('events');
      streaming = true;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ''; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const parts = (rest + value).split('\n\n');
        rest = parts.pop();
        parts.forEach(message);
      }
    } catch (error) {
      if (error.status === 400) lastId = '';
      if (!cut.signal.aborted) problem('events', said(error));
    }
    streaming = false;
    changed = true;
    const wasCut = cut.signal.aborted;
    // Whatever went wrong, its place at the server is given back.
    cut.abort();
    if (!wasCut) await new Promise(done => setTimeout(done, 2000));
  }
}

// ---- One connection, or how one ended
let shown = null;
function open(row, over) {
  shown = row;
  $('detail-title').textContent = over ? `${whose(row)}: ${row.reason}` : `Connection ${row.key}`;
  const [what, usually, advice] = (over && meanings[row.reason]) || [];
  $('meaning').textContent = what ? `It ${what} Usually: ${usually} What to do: ${advice}` : '';
  const read = (name, value) => (typeof value === 'object' ? JSON.stringify(value) : name.endsWith('_s') ? span(value)
    : /bytes/.test(name) ? bytes(value) : String(value));
  $('fields').replaceChildren(...Object.entries(row).filter(([, value]) => value !== null && value !== '').flatMap(([name, value]) =>
    [make('dt', { textContent: name.replace(/_s$/, '').replaceAll('_', ' ') }), make('dd', { textContent: read(name, value) })]));
  $('end').hidden = over;
  if (!$('detail').open) $('detail').showModal();
}
async function again() {
  if (!$('detail').open || !shown || shown.reason || document.hidden) return;
  const { key } = shown;
  const [row] = (await json(`/connections?${query({ key })}`)).connections;
  if (!$('detail').open || shown.key !== key || shown.reason) return;
  if (row) open(row, false);
  else { $('meaning').textContent = 'It is gone.'; $('end').hidden = true; }
}
function only(text) {
  $('whom').value = text;
  changedFilter();
}
function changedFilter() {
  limit = 100;
  showAll();
  if (cut) cut.abort();
}
let showAll = () => {};
$('close').onclick = () => $('detail').close();
$('only').onclick = () => { $('detail').close(); only(whose(shown)); };
$('end').onclick = () => {
  $('sure-text').textContent = `${whose(shown)}: connection ${shown.key} from ${shown.peer} on listener ${shown.listener}. It is told so where ` +
    'its protocol has a goodbye, and ends local.kicked.';
  $('sure').dataset.key = shown.key;
  $('sure').showModal();
};
$('keep').onclick = () => $('sure').close();
$('do').onclick = async () => {
  const { key } = $('sure').dataset;
  $('sure').close();
  $('detail').close();
  await ask(`/connections/${encodeURIComponent(key)}/end`, { method: 'POST' })
    .then(() => { problem('end'); pending.push(`${clock(Date.now())} ${key} is being ended`); }, error => problem('end', said(error)));
};
$('filter').onsubmit = event => { event.preventDefault(); changedFilter(); };
for (const id of ['listener', 'state']) $(id).onchange = changedFilter;
$('everybody').onclick = () => { $('listener').value = $('state').value = ''; only(''); };
$('more').onclick = () => { limit = 1000; showAll(); };
$('all').onchange = () => cut && cut.abort();
$('pause').onclick = () => $('pause').setAttribute('aria-pressed', $('pause').getAttribute('aria-pressed') !== 'true');
$('token-form').onsubmit = event => {
  event.preventDefault();
  token = $('token').value.trim();
  sessionStorage.setItem('linger-token', token);
  $('token').value = '';
  $('login').close();
};
// By the form or by Escape: without a token it asks again.
$('login').onclose = () => begin();
// A hidden page holds no place at the server.
document.addEventListener('visibilitychange', () => document.hidden && cut && cut.abort());
let begun = false;
async function begin() {
  try {
    if (!begun) await pastBars();
  } catch (error) {
    problem('begin', said(error));
    if (error.status !== 401) setTimeout(begin, 2000);
    return;
  }
  problem('begin');
  if (begun) { showAll(); return; }
  begun = true;
  repeat('figures', figures);
  const list = repeat('connections', connections);
  const endings = () => lastEnds().then(() => problem('endings'), error => problem('endings', said(error)));
  showAll = () => { list(); endings(); };
  document.addEventListener('visibilitychange', () => document.hidden || endings());
  endings();
  repeat('detail', again);
  watch();
}
begin();
