import fc from 'fast-check';
import t from 'tap';
import { ConsoleRing } from '../../hypercalls/console/ring.ts';
import { pageOfMemory } from '../support/memory.ts';

const IN_CONS = 3072,
  IN_PROD = 3076,
  OUT_CONS = 3080,
  OUT_PROD = 3084;

/** A guest's console page and what came out of it. */
function console_() {
  const memory = pageOfMemory();
  const guest = { memory, printed: '', notified: 0, ring: undefined as unknown as ConsoleRing };
  guest.ring = new ConsoleRing(
    memory,
    0,
    (bytes) => {
      guest.printed += String.fromCharCode(...bytes);
    },
    () => guest.notified++,
  );
  const get = (offset: number) => memory.view.getUint32(offset, true);
  const set = (offset: number, value: number) => memory.view.setUint32(offset, value, true);
  const print = (text: string) => {
    const produced = get(OUT_PROD);
    for (let i = 0; i < text.length; i++) memory.bytes[1024 + ((produced + i) % 2048)] = text.charCodeAt(i);
    set(OUT_PROD, produced + text.length);
  };
  /** What the guest can read now. */
  const read = () => {
    let text = '';
    for (let at = get(IN_CONS); at !== get(IN_PROD); at = (at + 1) >>> 0) text += String.fromCharCode(memory.bytes[at % 1024]!);
    set(IN_CONS, get(IN_PROD));
    return text;
  };
  return Object.assign(guest, { get, set, print, read });
}

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

t.test('what the guest prints comes out, also around the end of the ring and of the index', (t) => {
  for (const start of [0, 2040, 0xffff_fffa]) {
    const guest = console_();
    guest.set(OUT_CONS, start);
    guest.set(OUT_PROD, start);
    guest.print('hello from the ring\n');
    guest.ring.onEvent();
    t.equal(guest.printed, 'hello from the ring\n');
    t.equal(guest.get(OUT_CONS), guest.get(OUT_PROD));
    t.equal(guest.notified, 1, 'the guest is told that there is room');
    guest.ring.onEvent();
    t.equal(guest.notified, 1, 'and not told when nothing happened');
  }
  t.end();
});

t.test('a full ring is one write', (t) => {
  const guest = console_();
  guest.print('x'.repeat(2048));
  guest.ring.onEvent();
  t.equal(guest.printed.length, 2048);
  t.end();
});

t.test('what is typed goes in as the guest makes room, in order', (t) => {
  const guest = console_();
  guest.set(IN_CONS, 0xffff_ff00);
  guest.set(IN_PROD, 0xffff_ff00);
  const text = Array.from({ length: 700 }, (_, i) => `${i},`).join('');
  for (let at = 0; at < text.length; at += 300) guest.ring.input(bytes(text.slice(at, at + 300)));
  t.equal(guest.ring.pendingInput, text.length - 1024);
  let got = '';
  for (let part = guest.read(); part !== ''; part = guest.read()) {
    got += part;
    guest.ring.onEvent();
  }
  t.equal(got, text);
  t.equal(guest.ring.pendingInput, 0);
  t.end();
});

t.test('the bytes given to input may be used again by the caller', (t) => {
  const guest = console_();
  guest.ring.input(new Uint8Array(1024));
  const key = bytes('a');
  guest.ring.input(key);
  key[0] = 0;
  guest.read();
  guest.ring.onEvent();
  t.equal(guest.read(), 'a');
  t.end();
});

t.test('impossible indices are ignored until they are possible again', (t) => {
  const guest = console_();
  guest.set(OUT_PROD, 2049);
  guest.set(IN_CONS, 1);
  guest.ring.input(bytes('key'));
  guest.ring.onEvent();
  t.equal(guest.printed, '');
  t.equal(guest.get(IN_PROD), 0);
  t.equal(guest.notified, 0);
  guest.set(OUT_PROD, 0);
  guest.set(IN_CONS, 0);
  guest.print('ok');
  guest.ring.onEvent();
  t.equal(guest.printed, 'ok');
  t.equal(guest.read(), 'key');
  t.end();
});

t.test('any indices are survived, and no byte outside the ring is read or written', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom(IN_CONS, IN_PROD, OUT_CONS, OUT_PROD), fc.oneof(fc.nat(4096), fc.integer()))),
      (pokes) => {
        const guest = console_();
        guest.memory.bytes.fill(1, 0, 1024).fill(2, 1024, 3072).fill(3, 3088);
        for (const [offset, value] of pokes) {
          guest.set(offset, value);
          guest.ring.input(bytes('typed'));
          guest.ring.onEvent();
        }
        const isUntouched = guest.memory.bytes.subarray(3088).every((byte) => byte === 3);
        return isUntouched && [...guest.printed].every((c) => c.charCodeAt(0) === 2);
      },
    ),
    { seed: 1 },
  );
  t.end();
});
