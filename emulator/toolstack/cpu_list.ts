/**
 * Sets of physical CPUs as xl writes them: `all`, `3`, `0-2,5`, `all,^1`, `nodes:0` (there is one node). The whole line of
 * xl's checks and its words are kept (xen:tools/xl/xl_parse.c parse_cpurange, xl_utils.c print_bitmap).
 */

const MAX_CPU = 4095;

/** CPU numbers, ascending; undefined: there is no such list. A number beyond the host's CPUs stays in it. */
export function parseCpuList(text: string, cpuCount: number): readonly number[] | undefined {
  const has = new Uint8Array(MAX_CPU + 1);
  for (const word of text.split(',').map((part) => part.trim())) {
    if (word === '') continue;
    const isWithout = word.startsWith('^');
    const range = parseRange(isWithout ? word.slice(1) : word, cpuCount);
    if (range === undefined) return undefined;
    has.fill(isWithout ? 0 : 1, ...range);
  }
  return [...has.keys()].filter((cpu) => has[cpu]);
}

/** From the first to the one behind the last. */
function parseRange(word: string, cpuCount: number): readonly [number, number] | undefined {
  if (/^(nodes?:)?all$/.test(word)) return [0, cpuCount];
  const [, nodes, first, last = first] = /^(nodes?:)?(\d+)(?:-(\d+))?$/.exec(word) ?? [];
  if (first === undefined || Number(last) < Number(first) || Number(last) > MAX_CPU) return undefined;
  if (nodes !== undefined) return [0, Number(first) === 0 ? cpuCount : 0];
  return [Number(first), Number(last) + 1];
}

/** `all`, `none` or ranges, as xl vcpu-list shows them. */
export function formatCpuList(cpus: readonly number[], cpuCount: number): string {
  if (cpus.length >= cpuCount) return 'all';
  if (cpus.length === 0) return 'none';
  const ranges: { first: number; last: number }[] = [];
  for (const cpu of cpus) {
    const range = ranges.at(-1);
    if (range !== undefined && range.last === cpu - 1) range.last = cpu;
    else ranges.push({ first: cpu, last: cpu });
  }
  return ranges.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
