/** docs/hypercalls.md, out of the ABI table. */
import { type AnyOp, type Hypercall, hasOps, type Refused } from '../../hypercalls/abi/hypercall.ts';
import type { AnyStruct, Direction } from '../../hypercalls/abi/struct.ts';
import { hypercalls, structs } from './abi_table.ts';

const HEAD = `# Hypercalls

Made by \`npm run docs\` out of \`hypercalls/abi/\`; do not edit. Numbers and names are those of Xen 4.17's public headers. Every call
also answers -EFAULT for a pointer that cannot be followed and -ENOSYS for an operation, or a kind of guest, that it does not know.
Fields are read by ring -1; → is written, ↔ both.
`;

const guests = ({ guests: { pv64, pvh } }: Hypercall): string => [pv64 && 'PV64', pvh && 'PVH'].filter(Boolean).join(', ');
const ARROW: Readonly<Record<Direction, string>> = { in: '', out: '→ ', inout: '↔ ', pad: '' };
const cell = (text: string): string => text.replaceAll('|', '\\|');

function formatStruct(struct: AnyStruct | null): string {
  if (struct === null) return '';
  const fields = struct.fields.filter(({ direction }) => direction !== 'pad').map(({ name, direction }) => ARROW[direction] + name);
  return `\`${struct.name}\` {${fields.join(', ')}}`;
}

function opRow(name: string, op: AnyOp | Refused): string {
  const number = op.cmd < 0 ? '' : `${op.cmd} `;
  if (op.kind === 'refused') return `| ${number}${name} | | ${cell(op.doc)} | always -${op.errno} | |`;
  const rax = op.returns === 'value' ? 'a value' : '0';
  const batch = op.count === undefined ? '' : `array of ${op.count} `;
  const errnos = op.errnos.map((errno: string) => `-${errno}`).join(' ');
  return `| ${number}${name} | ${batch}${formatStruct(op.arg ?? op.follows ?? null)} | ${cell(op.doc)} | ${errnos} | ${rax} |`;
}

function* section(row: Hypercall): Generator<string> {
  const { name, nr, params, body } = row;
  yield `\n## ${nr} ${name}(${Object.keys(params).join(', ')})`;
  yield `${guests(row)}${row.before.length > 0 ? `; before anything else ${row.before.map((errno) => `-${errno}`).join(' ')}` : ''}\n`;
  yield '| operation | argument | what it does | errnos | RAX |';
  yield '|---|---|---|---|---|';
  if (hasOps(body)) for (const [op, opBody] of Object.entries(body).toSorted(([, a], [, b]) => a.cmd - b.cmd)) yield opRow(op, opBody);
  else yield opRow(name, body);
}

function* structTable(): Generator<string> {
  yield '\n## Structures\n';
  yield '| struct | bytes | fields at their offsets |';
  yield '|---|---|---|';
  for (const { name, size, fields } of structs.toSorted((a, b) => a.name.localeCompare(b.name, 'en'))) {
    const list = fields.filter(({ direction }) => direction !== 'pad').map((field) => `${field.offset} ${field.name}: ${field.type.name}`);
    yield `| ${name} | ${size} | ${cell(list.join(', '))} |`;
  }
}

export function makeHypercallDocs(): string {
  return `${[HEAD, ...hypercalls.flatMap((row) => [...section(row)]), ...structTable()].join('\n')}\n`;
}
