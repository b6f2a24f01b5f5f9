/** The back end of a virtual disk: its states, every request with what can be wrong with it, and front ends that lie. */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import {
  BLKIF_OP_DISCARD as DISCARD,
  BLKIF_RSP_EOPNOTSUPP as EOPNOTSUPP,
  BLKIF_RSP_ERROR as ERROR,
  BLKIF_OP_FLUSH_DISKCACHE as FLUSH,
  BLKIF_RSP_OKAY as OKAY,
  BLKIF_OP_READ as READ,
  BLKIF_OP_WRITE as WRITE,
  BLKIF_OP_WRITE_BARRIER as WRITE_BARRIER,
} from '../../hypercalls/abi/blkif.ts';
import { GTF_permit_access, GTF_readonly } from '../../hypercalls/abi/grant_table.ts';
import { diskName, virtualDevice } from '../../hypercalls/block/device_tree.ts';
import { checkGrants } from '../../hypercalls/grant_table/check.ts';
import { type Asked, BlockFront, gref, MemoryDisk, RING_REF } from '../support/block_front.ts';

function balanced(t: Test, { machine }: BlockFront, claim = 'the books add up'): void {
  t.equal(checkInvariants(machine.memory) ?? checkGrants(machine.host), undefined, claim);
}

t.test('names and numbers', async (t) => {
  // biome-ignore format: a table
  const numbers: readonly (readonly [name: string, number: number | undefined])[] = [
    ['xvda', 51712], ['xvdb', 51728], ['xvdb1', 51729], ['xvdp15', 51967], ['xvdq', 268439552], ['xvda16', 268435472], ['xvdaa', 268442112],
    ['xvd', undefined], ['xvda0', undefined], ['xvda256', undefined], ['sda', undefined], ['xvdA', undefined], ['', undefined],
  ];
  for (const [name, number] of numbers) t.equal(virtualDevice(name), number, name);
  t.same([0, 25, 26, 27, 701, 702].map(diskName), ['xvda', 'xvdz', 'xvdaa', 'xvdab', 'xvdzz', 'xvdaaa']);
});

t.test('the nodes that xl and a back end make', async (t) => {
  const { store, paths } = new BlockFront();
  t.equal(paths.frontend, '/local/domain/1/device/vbd/51712');
  const nodes = (path: string) => Object.fromEntries(store.directory(path)!.map((key) => [key, store.read(`${path}/${key}`)]));
  t.same(nodes(paths.frontend), {
    backend: '/local/domain/0/backend/vbd/1/51712',
    'backend-id': '0',
    state: '1',
    'virtual-device': '51712',
    'device-type': 'disk',
    trusted: '1',
    protocol: 'x86_64-abi',
  });
  t.match(nodes(paths.backend), { frontend: paths.frontend, 'frontend-id': '1', mode: 'w', state: '2', params: 'aio:/images/a.img' });
  t.match(nodes(paths.backend), { 'feature-flush-cache': '1', 'feature-barrier': '1', 'feature-discard': '1' });
  t.equal(store.read(`${paths.backend}/sectors`), undefined, 'told when connected');
  t.same(store.getPermissions(paths.frontend), ['n1', 'r0']);
  t.same(store.getPermissions(paths.backend), ['n0', 'r1']);
});

t.test('a connection, its end, and the next one', async (t) => {
  const front = new BlockFront();
  front.offer();
  t.equal(front.state, '2');
  t.equal(front.flags(RING_REF), 1);
  front.put({ state: 3 });
  t.equal(front.state, '4');
  t.equal(front.flags(RING_REF), 0x19, 'the ring is mapped');
  t.equal(front.store.read(`${front.paths.backend}/sectors`), '64');
  t.equal(front.store.read(`${front.paths.backend}/sector-size`), '512');
  t.equal(front.store.read(`${front.paths.backend}/info`), '0');
  front.put({ state: 4 });
  t.same(front.ask({ operation: READ, segments: [{ gref: gref(0) }] }), [OKAY]);
  balanced(t, front);
  front.put({ state: 5 });
  t.equal(front.state, '5');
  front.put({ state: 6 });
  t.equal(front.state, '6');
  t.equal(front.flags(RING_REF), 1, "the ring is the guest's again");
  balanced(t, front);
  front.put({ state: 1 });
  t.equal(front.state, '2');
  t.same(front.connect().ask({ operation: READ, sector: 8, segments: [{ gref: gref(0) }] }), [OKAY]);
  t.same(front.page(0), front.disk.part(8, 8));

  front.backend.close();
  t.equal(front.state, '6', 'the domain has ended');
  t.equal(front.disk.log.at(-1), 'flush');
  t.equal(front.flags(RING_REF), 1);
  front.put({ state: 3 });
  t.equal(front.state, '6');
  balanced(t, front);
});

t.test('what a front end may get wrong before it is connected', async (t) => {
  // biome-ignore format: a table
  const mistakes: readonly (readonly [nodes: Record<string, string | number>, error: string])[] = [
    [{ protocol: 'arm-abi' },            'unknown fe protocol arm-abi'],
    [{ protocol: 'constructor' },        'unknown fe protocol constructor'],
    [{ 'ring-ref': 'x' },                'reading ring-ref'],
    [{ 'ring-ref': 9 },                  'mapping ring-ref 9'],
    [{ 'ring-ref': 4294967295 },         'mapping ring-ref 4294967295'],
    [{ 'ring-ref': 9999999999 },         'mapping ring-ref 9999999999'],
    [{ 'event-channel': '-1' },          'reading event-channel'],
    [{ 'event-channel': 0 },             'binding event-channel 0'],
    [{ 'event-channel': 1000 },          'binding event-channel 1000'],
    [{ 'ring-page-order': 1 },           'the ring has one page'],
    [{ 'multi-queue-num-queues': 2 },    'there is one queue'],
  ];
  for (const [nodes, error] of mistakes) {
    const front = new BlockFront();
    front.offer(nodes);
    front.put({ state: 3 });
    t.equal(front.error, error);
    t.equal(front.state, '5', `${error}: closing`);
    t.equal(front.flags(RING_REF), 1);
    front.put({ state: 6 });
    front.put({ state: 1, 'ring-page-order': 0, 'multi-queue-num-queues': 1 });
    front.connect();
    t.equal(front.state, '4', `${error}: the next try succeeds`);
    balanced(t, front);
  }
  const gone = new BlockFront().connect();
  gone.store.rm(gone.paths.frontend);
  t.equal(gone.state, '6', 'nodes that are taken away end the connection');
  balanced(t, gone);
});

for (const protocol of ['x86_64-abi', 'x86_32-abi']) {
  t.test(`requests of ${protocol}`, async (t) => {
    const front = new BlockFront();
    front.protocol = protocol;
    front.connect();
    const { disk } = front;
    const all = Array.from({ length: 11 }, (_, i) => ({ gref: gref(i), first_sect: i % 3, last_sect: 3 + (i % 3) }));

    front.page(0).fill(0xaa);
    t.same(front.ask({ operation: READ, sector: 5, segments: [{ gref: gref(0), first_sect: 2, last_sect: 3 }] }), [OKAY]);
    t.same(front.page(0).subarray(1024, 2048), disk.part(5, 2));
    t.equal(front.page(0)[1023], 0xaa);
    t.equal(front.page(0)[2048], 0xaa);

    for (let i = 0; i < 11; i++) front.page(i).fill(0x40 + i);
    t.same(front.ask({ operation: WRITE, sector: 20, segments: all }), [OKAY]);
    for (let i = 0; i < 11; i++)
      t.ok(
        disk.part(20 + 4 * i, 4).every((byte) => byte === 0x40 + i),
        `segment ${i} of 11`,
      );
    t.equal(front.flags(gref(3)), 1, 'no page stays mapped');

    disk.log.length = 0;
    t.same(front.ask({ operation: FLUSH }), [OKAY]);
    t.same(front.ask({ operation: WRITE_BARRIER, sector: 1, segments: [{ gref: gref(0), last_sect: 0 }] }), [OKAY]);
    t.same(front.ask({ operation: DISCARD, sector: 2, nr_sectors: 3n }), [OKAY]);
    t.same(disk.log, ['flush', 'flush', 'write 1+1', 'flush', 'discard 2+3']);
    t.ok(disk.part(2, 3).every((byte) => byte === 0));

    const many: Asked[] = Array.from({ length: 32 }, (_, i) => ({
      operation: READ,
      sector: i,
      segments: [{ gref: gref(0), last_sect: 0 }],
    }));
    for (let round = 0; round < 3; round++) t.same(front.ask(...many), Array(32).fill(OKAY), 'a full ring, around its end');
    t.same(front.page(0).subarray(0, 512), disk.part(31), 'the last one came last');
    balanced(t, front);
  });
}

t.test('the guest is told when it asked for that, and then only', async (t) => {
  const front = new BlockFront().connect();
  front.machine.clearEvents();
  front.ask({ operation: FLUSH });
  t.ok(front.machine.isPending(front.port));
  front.machine.clearEvents();
  front.view.setUint32(front.ring + 12, 100, true);
  front.ask({ operation: FLUSH });
  t.notOk(front.machine.isPending(front.port));
});

const page = [{ gref: gref(0) }];
// biome-ignore format: a table
const refused: readonly (readonly [claim: string, request: Asked, status: number])[] = [
  ['no segment to read',             { operation: READ },                                                        ERROR],
  ['no segment to write',            { operation: WRITE },                                                       ERROR],
  ['12 segments',                    { operation: WRITE, segments: page, nr_segments: 12 },                      ERROR],
  ['255 segments of a flush',        { operation: FLUSH, segments: page, nr_segments: 255 },                     ERROR],
  ['a page has 8 sectors',           { operation: READ, segments: [{ gref: gref(0), last_sect: 8 }] },           ERROR],
  ['its last before its first',      { operation: READ, segments: [{ gref: gref(0), first_sect: 3, last_sect: 2 }] }, ERROR],
  ['the last sector and one more',   { operation: READ, sector: 57, segments: page },                            ERROR],
  ['a sector beyond the end',        { operation: WRITE, sector: 64, segments: [{ gref: gref(0), last_sect: 0 }] }, ERROR],
  ['sector 2^64 - 1',                { operation: WRITE, sector: -1, segments: page },                           ERROR],
  ['a discard beyond the end',       { operation: DISCARD, sector: 60, nr_sectors: 5n },                         ERROR],
  ['a discard around the end',       { operation: DISCARD, sector: 1, nr_sectors: 2n ** 64n - 1n },              ERROR],
  ['a page that is not granted',     { operation: READ, segments: [...page, { gref: 100 }] },                    ERROR],
  ['a reference beyond the table',   { operation: WRITE, segments: [{ gref: 0xffff_ffff }] },                    ERROR],
  ['a read into a page to be read',  { operation: READ, segments: [{ gref: gref(1) }] },                         ERROR],
  ['reserved operation 4',           { operation: 4, segments: page },                                           EOPNOTSUPP],
  ['an indirect request',            { operation: 6, segments: page },                                           EOPNOTSUPP],
  ['operation 255',                  { operation: 255 },                                                         EOPNOTSUPP],
];

t.test('requests that are refused change nothing', async (t) => {
  const front = new BlockFront().connect();
  front.grant(gref(1), 0x221, GTF_permit_access | GTF_readonly);
  const before = front.disk.bytes.slice();
  for (const [claim, request, status] of refused) {
    front.page(0).fill(0x55);
    t.same(front.ask(request), [status], claim);
    t.ok(front.page(0).every((byte) => byte === 0x55));
    t.equal(front.flags(gref(0)), 1);
  }
  t.same(front.disk.bytes, before);
  t.same(
    front.disk.log.filter((line) => line !== 'flush'),
    [],
  );
  t.same(front.ask({ operation: WRITE, segments: [{ gref: gref(1) }] }), [OKAY], 'a page to be read can be written to the disk');
  t.same(front.ask({ operation: READ, sector: 56, segments: page }), [OKAY], 'the last 8 sectors are there');
  balanced(t, front);
});

t.test('a disk to be read only', async (t) => {
  const front = new BlockFront(new MemoryDisk(64, true)).connect();
  t.equal(front.store.read(`${front.paths.backend}/info`), '4');
  t.equal(front.store.read(`${front.paths.backend}/mode`), 'r');
  t.same(front.ask({ operation: READ, segments: page }), [OKAY]);
  for (const operation of [WRITE, WRITE_BARRIER, FLUSH]) t.same(front.ask({ operation, segments: page }), [ERROR]);
  t.same(front.ask({ operation: DISCARD, nr_sectors: 1n }), [ERROR]);
  t.same(front.disk.log, ['read 0+8']);
});

t.test('a broken disk is an error of each request', async (t) => {
  const front = new BlockFront().connect();
  front.disk.isBroken = true;
  for (const operation of [READ, WRITE, WRITE_BARRIER, FLUSH]) t.same(front.ask({ operation, segments: page }), [ERROR]);
  t.same(front.ask({ operation: DISCARD, nr_sectors: 1n }), [ERROR]);
  front.disk.isBroken = false;
  t.same(front.ask({ operation: READ, segments: page }), [OKAY]);
  balanced(t, front);
});

t.test('a ring that cannot be closes the device, not the machine', async (t) => {
  for (const produced of [33, 0x8000_0000, 0xffff_ffff]) {
    const front = new BlockFront().connect();
    front.view.setUint32(front.ring, produced, true);
    front.notify();
    t.equal(front.error, 'bogus ring requests');
    t.equal(front.state, '5');
    t.equal(front.flags(RING_REF), 1);
    front.notify();
    front.put({ state: 6 });
    front.put({ state: 1 });
    t.same(front.connect().ask({ operation: READ, segments: page }), [OKAY], 'and may be opened again');
    balanced(t, front);
  }
  const old = new BlockFront();
  old.offer();
  old.view.setUint32(old.ring, 0xffff_fffe, true);
  old.view.setUint32(old.ring + 8, 0xffff_fffe, true);
  old.put({ state: 3 });
  t.equal(old.state, '4', 'indices may begin anywhere');

  const own = new BlockFront().connect();
  own.push({ operation: READ, segments: [{ gref: RING_REF }] }, 0n);
  own.notify();
  own.notify();
  t.equal(own.state, '5', 'a ring that a read has overwritten');
  balanced(t, own);
});

t.test('random rings and nodes: nothing throws, no frame is lost', async (t) => {
  const front = new BlockFront();
  const word = fc.oneof(fc.nat(40), fc.constantFrom(0x7fff_ffff, 0xffff_ffff, 0xffff_fff0), fc.nat(0xffff_ffff));
  const step = fc.oneof(
    fc.record({ state: fc.constantFrom(0, 1, 3, 4, 5, 6, 7) }),
    fc.record({ 'ring-ref': fc.constantFrom(RING_REF, gref(0), 77), 'event-channel': fc.nat(6) }),
    fc.tuple(fc.nat(1023), word),
    fc.constantFrom('notify', 'offer', 'close port'),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      for (const step of steps) {
        if (Array.isArray(step)) front.view.setUint32(front.ring + 4 * step[0], step[1], true);
        else if (step === 'notify') front.notify();
        else if (step === 'offer') front.offer();
        else if (step === 'close port') front.machine.call(32, 3, front.machine.poke(0x200, front.port));
        else if (typeof step !== 'string') front.put(step as Record<string, number>);
      }
      return (checkInvariants(front.machine.memory) ?? checkGrants(front.machine.host)) === undefined;
    }),
    { seed: 4, numRuns: 300 },
  );
  t.pass();
});
