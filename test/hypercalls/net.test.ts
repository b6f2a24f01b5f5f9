/** The back end of a virtual network interface: what Linux's netback answers a guest, and front ends that lie. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { engineKinds } from '../../emulator/cpu/index.ts';
import type { Domain } from '../../emulator/domain.ts';
import { Machine } from '../../emulator/machine.ts';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { decode, encode } from '../../emulator/plain_data.ts';
import { runSlice } from '../../emulator/run.ts';
import { type SavedDomain, saveDomain } from '../../emulator/saved_domain.ts';
import { NETTXF_extra_info as EXTRA, NETTXF_more_data as MORE, NETTXF_csum_blank } from '../../hypercalls/abi/netif.ts';
import { checkGrants } from '../../hypercalls/grant_table/check.ts';
import { withChecksum } from '../../hypercalls/net/checksum.ts';
import { Bridge, Loop } from '../../hypercalls/net/network.ts';
import { pcapHeader, pcapRecord } from '../../hypercalls/net/pcap.ts';
import { GuestRun, guestFile, guestInterfaces, guestKernel } from '../support/guest_run.ts';
import { IN_REF, NetFront, OUT_REF, RX_REF, TX_REF, type TxSlot } from '../support/net_front.ts';

const balance = ({ machine }: NetFront): string | undefined => checkInvariants(machine.memory) ?? checkGrants(machine.host);

t.test('a guest with two interfaces sees what it sees beside netback and a bridge of Linux', async (t) => {
  for (const engine of engineKinds) {
    const run = GuestRun.bootFile(guestKernel('network'), { engine, interfaces: guestInterfaces, isTraced: false });
    run.run();
    t.equal(run.console, readFileSync(guestFile('network', 'expected-network.txt'), 'latin1'), engine);
    t.equal(checkInvariants(run.machine.memory) ?? checkGrants(run.machine), undefined, `${engine}: the books add up`);
  }
});

t.test('a guest that is saved in between, and goes on in another machine', async (t) => {
  const expected = readFileSync(guestFile('network', 'expected-network.txt'), 'latin1');
  const memorySize = 24 * 2 ** 20;
  for (const instructions of [150_000, 900_000, 1_350_000]) {
    let console = '';
    const output = (_domain: Domain, bytes: Uint8Array): void => {
      console += Buffer.from(bytes).toString('latin1');
    };
    const first = new Machine({ memorySize, output });
    const image = readFileSync(guestKernel('network'));
    const spec = { name: 'network', isInitial: false, memorySize, interfaces: guestInterfaces };
    const whole = first.createPvDomain(image, spec) as Domain;
    while (first.cpu.instructionCount < instructions) runSlice(first, instructions - first.cpu.instructionCount);
    const saved = decode(encode(saveDomain(first, whole))) as SavedDomain;
    const second = new Machine({ memorySize, output });
    const domain = second.restoreDomain(saved) as Domain;
    t.equal(checkInvariants(second.memory) ?? checkGrants(second), undefined, 'the books add up');
    second.unpause(domain);
    while (domain.shutdownReason === undefined) runSlice(second, 1_000_000);
    t.equal(console, expected, `after ${instructions} instructions`);
    t.equal(checkInvariants(second.memory) ?? checkGrants(second), undefined);
  }
});

/** A frame of `size` bytes in the page to be sent from. */
function fill({ out }: NetFront, size: number, to: readonly number[] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]): Uint8Array {
  for (let i = 0; i < size; i++) out[i] = i;
  out.set([...to, 0, 0x16, 0x3e, 0, 0, 1, 0x88, 0xb5]);
  return out.slice(0, size);
}

t.test('a loop: what is sent comes back, as much of it as there are pages for', async (t) => {
  const seen: [number, bigint][] = [];
  const front = new NetFront(new Loop(), (frame, ns) => void seen.push([frame.length, ns])).connect();
  t.equal(front.state, '4');
  const frame = fill(front, 100);
  front.post(2);
  t.same(front.send({ size: 100 }), [0]);
  t.same(front.received(), [100]);
  t.same(front.in.slice(0, 100), frame);
  t.same(front.send({ size: 60 }, { size: 61 }, { size: 62 }), [0, 0, 0]);
  t.same(front.received(), [60]);
  front.post(5);
  t.same(front.received(), [61, 62], 'the others waited');
  t.same(front.backend.statistics, { sentFrames: 4, sentBytes: 283, receivedFrames: 4, receivedBytes: 283 });
  t.same(
    seen.map(([size]) => size),
    [100, 100, 60, 60, 61, 61, 62, 62],
    'all of it was captured',
  );
  t.equal(seen[0]![1], 1_700_000_001_123_456_789n, 'at its time');
  for (let i = 0; i < 300; i++) front.send({ size: 64 });
  front.post(255);
  front.received();
  front.post(255);
  t.equal(front.received().length, 1, 'of the frames for which there is no page, 256 wait');
  t.equal(balance(front), undefined);
});

t.test('a bridge: everybody hears a stranger, and nobody else what is for one who has spoken', async (t) => {
  const bridge = new Bridge();
  const fronts = [1, 2, 3].map(() => new NetFront(bridge).connect());
  const [a, b, c] = fronts as [NetFront, NetFront, NetFront];
  for (const front of fronts) front.post(50);
  const address = (n: number): number[] => [0, 0x16, 0x3e, 0, 0, n];
  const say = (from: NetFront, source: number, to: number[]): number[][] => {
    fill(from, 60, to).length;
    from.out.set(address(source), 6);
    from.send({ size: 60 });
    return fronts.map((front) => front.received());
  };
  t.same(say(a, 1, address(2)), [[], [60], [60]]);
  t.same(say(b, 2, address(1)), [[60], [], []]);
  t.same(say(c, 3, address(2)), [[], [60], []]);
  t.same(say(b, 3, address(9)), [[60], [], [60]]);
  t.same(say(a, 1, address(3)), [[], [60], []], 'who speaks elsewhere has moved');
  b.put({ state: 5 });
  t.same(say(a, 1, address(3)), [[], [], [60]], 'who has left is forgotten');
  b.backend.close();
  t.equal(b.state, '6');
  for (let i = 0; i < 3000; i++) {
    a.out.set([2, 0, 0, 0, i >> 8, i & 0xff], 6);
    a.send({ size: 60 });
    if (i % 40 === 0) c.post(40);
  }
  t.same(say(a, 1, address(9))[0], [], 'one who calls itself everything is heard all the same');
  for (const front of fronts) t.equal(balance(front), undefined);
});

/** A descriptor: type, flags, and six bytes. */
const extra = (type: number, flags = 0, ...more: readonly number[]): readonly number[] => [
  type,
  flags,
  ...more,
  ...Array(6 - more.length).fill(0),
];
const GSO = [0xe8, 3, 1];
// biome-ignore format: a table
const bogus: readonly (readonly [error: string, slots: readonly TxSlot[]])[] = [
  ['Missing extra info',                                    [{ size: 60, flags: EXTRA }]],
  ['Missing extra info',                                    [{ size: 60, flags: EXTRA }, extra(4, 1)]],
  ['Invalid extra type: 0',                                 [{ size: 60, flags: EXTRA }, extra(0)]],
  ['Invalid extra type: 5',                                 [{ size: 60, flags: EXTRA }, extra(5)]],
  ['GSO size must not be zero.',                            [{ size: 60, flags: EXTRA }, extra(1, 0, 0, 0, 1)]],
  ['Bad GSO type 0.',                                       [{ size: 60, flags: EXTRA }, extra(1, 0, 1, 0, 0)]],
  ['Bad GSO type 3.',                                       [{ size: 60, flags: EXTRA }, extra(1, 0, 1, 0, 3)]],
  ['Asked for 0 slots but exceeds this limit',              [{ size: 60, flags: MORE }]],
  ['Asked for 1 slots but exceeds this limit',              [{ size: 60, flags: MORE }, { size: 6, flags: MORE }]],
  ['Malicious frontend using 20 slots, threshold 20',       [...Array(21).fill({ size: 60, flags: MORE }), { size: 1 }]],
  ['Cross page boundary, txreq.offset: 4000, size: 97',     [{ size: 97, offset: 4000 }]],
  ['Cross page boundary, txreq.offset: 65535, size: 65535', [{ size: 65535, flags: MORE }, { size: 65535, offset: 65535 }]],
  ['Cross page boundary, txreq.offset: 4000, size: 100',    [{ size: 160, flags: MORE }, { size: 100, offset: 4000 }]],
];

t.test('a ring that makes no sense disables the interface for good, and nothing else', async (t) => {
  for (const [error, slots] of bogus) {
    const front = new NetFront().connect();
    front.post(10);
    t.same(front.send({ size: 60 }, ...slots), [0], `${error}: what stood before it is answered`);
    t.equal(front.error, `fatal error; disabling device: ${error}`);
    t.equal(front.state, '4');
    t.same(front.send({ size: 60 }), []);
    front.put({ state: 6 });
    front.put({ state: 1 });
    front.connect();
    t.same(front.send({ size: 60 }), [], 'also in the next connection');
    t.equal(balance(front), undefined);
  }
  for (const produced of [257, 0x8000_0000, 0xffff_ffff]) {
    const front = new NetFront().connect();
    front.view.setUint32(front.tx, produced, true);
    front.notify();
    t.match(front.error, /Impossible number of requests/);
  }
  const old = new NetFront();
  old.offer();
  for (const field of [0, 8]) old.view.setUint32(old.tx + field, 0xffff_fff0, true);
  old.put({ state: 4 });
  t.equal(old.error, undefined, 'indices may begin anywhere');
});

t.test('what is not offered is refused', async (t) => {
  const front = new NetFront().connect();
  front.post(10);
  t.same(front.send({ size: 60, flags: EXTRA }, extra(1, 0, ...GSO)), [-1, 1], 'a frame to be cut up');
  t.same(front.send({ size: 160, flags: EXTRA | MORE }, extra(1, 0, ...GSO), { size: 100 }), [-1, 1, -1], 'of two slots');
  t.same(front.received(), []);
  t.same(front.send({ size: 60 }), [0]);
  t.same(front.received(), [60]);
});

t.test('what a front end may get wrong before it is connected', async (t) => {
  // biome-ignore format: a table
  const mistakes: readonly (readonly [nodes: Record<string, string | number>, error: RegExp])[] = [
    [{ 'tx-ring-ref': 'x' },               /^reading ring-ref$/],
    [{ 'rx-ring-ref': '' },                /^reading ring-ref$/],
    [{ 'tx-ring-ref': 99 },                /^mapping shared-frames 99\/9 port/],
    [{ 'rx-ring-ref': OUT_REF },           /^mapping shared-frames 8\/16 port/],
    [{ 'event-channel': '-1' },            /^reading event-channel/],
    [{ 'event-channel': 1000 },            /^mapping shared-frames 8\/9 port tx 1000 rx 1000$/],
    [{ 'event-channel-rx': 1000 },         /^mapping shared-frames 8\/9 port tx \d rx 1000$/],
    [{ 'multi-queue-num-queues': 2 },      /^guest requested 2 queues, but valid range is 1 - 1\.$/],
    [{ 'multi-queue-num-queues': 0 },      /^guest requested 0 queues/],
  ];
  for (const [nodes, error] of mistakes) {
    const front = new NetFront();
    front.offer(nodes);
    front.put({ state: 4 });
    t.match(front.error, error);
    t.equal(front.state, '4', 'as netback, which says so all the same');
    t.same(front.send({ size: 60 }), []);
    front.put({ state: 6 });
    front.put({ state: 1 });
    for (const key of Object.keys(nodes)) front.store.rm(`${front.paths.frontend}/${key}`);
    front.connect().post(1);
    t.same(front.send({ size: 60 }), [0], 'the next try succeeds');
    front.store.rm(front.paths.frontend);
    t.equal(front.state, '6', 'nodes that are taken away end the connection');
    t.equal(balance(front), undefined);
  }
});

t.test('checksums of TCP and UDP are finished for who wants that', async (t) => {
  // RFC 1071's own example, as the data of a datagram.
  const datagram = (protocol: number, data: readonly number[]): Uint8Array => {
    const header = protocol === 6 ? Array(20).fill(0) : [0, 1, 0, 2, 0, 8 + data.length, 0, 0];
    const size = 20 + header.length + data.length;
    const ip = [0x45, 0, 0, size, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    return Uint8Array.from([...Array(12).fill(0), 8, 0, ...ip, ...header, ...data, 0xaa]);
  };
  const sumOf = (frame: Uint8Array, offset: number): number => frame[34 + offset]! * 256 + frame[35 + offset]!;
  const data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
  t.equal(sumOf(withChecksum(datagram(6, data)), 16), ~0xddf2 & 0xffff, 'TCP; what is behind the packet does not count');
  t.equal(sumOf(withChecksum(datagram(17, data)), 6), ~(0xddf2 + 1 + 2 + 16) & 0xffff, 'UDP');
  t.equal(sumOf(withChecksum(datagram(17, [0xff, 0xff - 1 - 2 - 10])), 6), 0xffff, 'never 0');
  for (const broken of [datagram(50, data), Uint8Array.of(...Array(12).fill(0), 8, 0, 0x45), datagram(17, data).fill(0x4f, 14, 15)])
    t.equal(withChecksum(broken), broken, 'what has none stays as it is');
  const front = new NetFront().connect();
  front.post(1);
  front.out.set(datagram(50, data));
  t.same(front.send({ size: 60, flags: NETTXF_csum_blank }), [0]);
  t.same(front.received(), [], 'and is lost if its sender wants it finished');
});

t.test('a capture is a file of libpcap', async (t) => {
  const file = Buffer.concat([pcapHeader(), pcapRecord(Uint8Array.of(1, 2, 3), 1_700_000_000_000_000_005n)]);
  t.equal(file.toString('hex'), '4d3cb2a10200040000000000000000000000010001000000' + '00f15365050000000300000003000000010203');
});

function random(t: Test, network: () => Bridge | Loop): void {
  const front = new NetFront(network());
  const word = fc.oneof(
    fc.nat(40),
    fc.constantFrom(0x7fff_ffff, 0xffff_ffff, 0x1000_0010, OUT_REF, IN_REF, TX_REF, RX_REF),
    fc.nat(0xffff_ffff),
  );
  const step = fc.oneof(
    fc.record({ state: fc.constantFrom(0, 1, 3, 4, 5, 6, 7) }),
    fc.record({ 'tx-ring-ref': fc.constantFrom(TX_REF, RX_REF, IN_REF, 77), 'event-channel': fc.nat(6) }),
    fc.tuple(fc.nat(2047), word),
    fc.constantFrom('notify', 'offer', 'connect', 'close port', 'post'),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      for (const step of steps) {
        if (Array.isArray(step)) front.view.setUint32((step[0] < 1024 ? front.tx : front.rx) + 4 * (step[0] % 1024), step[1], true);
        else if (step === 'notify') front.notify();
        else if (step === 'offer') front.offer();
        else if (step === 'connect') front.connect();
        else if (step === 'post') front.post(3, TX_REF);
        else if (step === 'close port') front.machine.call(32, 3, front.machine.poke(0x200, front.port));
        else if (typeof step !== 'string') front.put(step as Record<string, number>);
      }
      return balance(front) === undefined;
    }),
    { seed: 4, numRuns: 60 },
  );
  t.pass();
}

t.test('random rings and nodes: nothing throws, no frame is lost', async (t) => {
  random(t, () => new Loop());
  random(t, () => new Bridge());
});
