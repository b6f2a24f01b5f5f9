// RCPSS and RSQRTSS: approximations that the architecture bounds to a relative error of 1.5 * 2^-12 and leaves otherwise
// to the processor. Ours are the exact values rounded to 12 significant bits. They raise nothing and ignore MXCSR; denormal
// operands count as zeros and denormal results are flushed.

import { sseEnv } from './env.ts';
import { FINITE, f32, f64, indefinite, infinity, isNan, quietNan, type Unpacked, unpack, zero } from './format.ts';
import { divUnpacked, sqrtUnpacked } from './softfloat.ts';

const MASKED_DAZ_FTZ = 0x9fc0;
const ONE = unpack(f32, 0x3f800000n);

export function sseReciprocal(a: bigint): bigint {
  const x = unpack(f32, a);
  if (isNan(x)) return quietNan(f32, x);
  if (x.denormal) return infinity(f32, x.sign);
  return inverse(x);
}

export function sseReciprocalSqrt(a: bigint): bigint {
  const x = unpack(f32, a);
  if (isNan(x)) return quietNan(f32, x);
  if (x.denormal || a === zero(f32, x.sign)) return infinity(f32, x.sign);
  if (x.sign) return indefinite(f32);
  return inverse(unpack(f64, sqrtUnpacked(f64, x, sseEnv(MASKED_DAZ_FTZ))));
}

function inverse(x: Unpacked): bigint {
  const quotient = divUnpacked(f32, ONE, x, sseEnv(MASKED_DAZ_FTZ));
  return x.kind === FINITE ? (quotient + 0x800n) & ~0xfffn : quotient;
}
