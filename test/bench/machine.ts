/** How the machine is that measures: what it is, and whether it is somebody else's just now. */
import { cpus, totalmem } from 'node:os';

export const describeMachine = (): string => {
  const { model, speed } = cpus()[0]!;
  return `${cpus().length} x ${model.trim()}${speed > 0 ? ` at ${speed} MHz` : ''}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
};

/** Of a short spin's time, the share that this process did not get. */
export function stolenShare(): number {
  const start = performance.now();
  const before = process.cpuUsage();
  for (let x = 1; performance.now() - start < 200; ) for (let i = 0; i < 1000; i++) x = (x * 1_664_525 + 1) | 0;
  const { user, system } = process.cpuUsage(before);
  return Math.max(0, 1 - (user + system) / 1000 / (performance.now() - start));
}
