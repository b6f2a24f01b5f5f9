/** The programs of the bench end with the checksums that QEMU has printed, interpreted and translated. */
import t from 'tap';
import { bootKernel } from '../bench/groups/boot.ts';
import { cpuKernels } from '../bench/groups/cpu.ts';
import { type Kernel, runHere } from '../bench/kernels.ts';

t.setTimeout(300_000);

// biome-ignore format: one a line
const checksums: readonly (readonly [kernel: Kernel, checksum: string])[] = [
  [cpuKernels[0]!, '6516c734230837c9'],
  [cpuKernels[1]!, '0000000000014069'],
  [cpuKernels[2]!, '000000001e8123c3'],
  [cpuKernels[3]!, '00000000d4fb37b2'],
  [cpuKernels[4]!, '000000000000b520'],
  [cpuKernels[5]!, '40e310e3ff0dcc8a'],
  [bootKernel,     '2b7c6e285bd8dbce'],
];

t.test('one round of each kernel', async (t) => {
  for (const [kernel, checksum] of checksums) {
    const [interpreted, translated] = [runHere(kernel, 1, 'interpret'), runHere(kernel, 1, 'translate')];
    t.equal(interpreted.checksum, checksum, `${kernel.name}, interpreted`);
    t.equal(translated.checksum, checksum, `${kernel.name}, translated`);
    t.equal(translated.instructions, interpreted.instructions, `${kernel.name}: as many instructions`);
  }
});
