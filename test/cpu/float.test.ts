// The floating-point arithmetic answers as a real processor did: records of test/cpu/record/float.c, and claims by hand
// where the architecture speaks but the recording cannot.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { sseReciprocal, sseReciprocalSqrt } from '../../emulator/cpu/float/reciprocal.ts';
import { parseRecording, replaySse } from './record/float_replay.ts';

const recording = parseRecording(gunzipSync(readFileSync('test/cpu/vectors/float.bin.gz')));

t.test(`${recording.sse} recorded SSE instructions give the same results, exceptions and faults`, (t) => {
  t.same(replaySse(recording).slice(0, 20), []);
  t.end();
});

t.test('RCPSS and RSQRTSS are within their error bound and know the special operands', (t) => {
  const bits = (x: number) => BigInt(new Uint32Array(Float32Array.of(x).buffer)[0]!);
  const value = (x: bigint) => new Float32Array(Uint32Array.of(Number(x)).buffer)[0]!;
  for (const x of [1, 2, 3, 10, 0.1, 1.9999, 1e-30, 1e30, 7.77e12, 123456789]) {
    const exact = Math.fround(x);
    t.ok(Math.abs(value(sseReciprocal(bits(x))) * exact - 1) <= 1.5 * 2 ** -12, `rcpss ${x}`);
    t.ok(Math.abs(value(sseReciprocal(bits(-x))) * -exact - 1) <= 1.5 * 2 ** -12, `rcpss ${-x}`);
    t.ok(Math.abs(value(sseReciprocalSqrt(bits(x))) * Math.sqrt(exact) - 1) <= 1.5 * 2 ** -12, `rsqrtss ${x}`);
  }
  const rows: [string, (a: bigint) => bigint, bigint, bigint][] = [
    ['rcpss +0', sseReciprocal, 0n, 0x7f800000n],
    ['rcpss -denormal', sseReciprocal, 0x80000001n, 0xff800000n],
    ['rcpss -inf', sseReciprocal, 0xff800000n, 0x80000000n],
    ['rcpss 2^127 is flushed', sseReciprocal, 0x7f000000n, 0n],
    ['rcpss SNaN', sseReciprocal, 0xff800001n, 0xffc00001n],
    ['rsqrtss -0', sseReciprocalSqrt, 0x80000000n, 0xff800000n],
    ['rsqrtss +inf', sseReciprocalSqrt, 0x7f800000n, 0n],
    ['rsqrtss -1', sseReciprocalSqrt, 0xbf800000n, 0xffc00000n],
    ['rsqrtss QNaN', sseReciprocalSqrt, 0x7fc12345n, 0x7fc12345n],
  ];
  for (const [name, operation, a, expected] of rows) t.equal(operation(a), expected, name);
  t.end();
});
