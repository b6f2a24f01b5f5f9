/** Grants at a domain's end: pages of others that it still maps, and pages of its own that it still grants. */
import { GNTST, GTF_invalid, GTF_type_mask, gnttab_map_grant_ref, grant_entry_v1 } from '../../hypercalls/abi/grant_table.ts';
import type { CallRecord } from '../../hypercalls/call.ts';
import { type Mapping, maptrack } from '../../hypercalls/grant_table/maptrack.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import type { Domain } from '../domain.ts';
import type { Host } from '../host.ts';
import { peek } from './peek.ts';

/** Filled by the toolstack: console and xenstore. */
const TOOLSTACK_ENTRIES = 2;
const MAX_LISTED = 8;

interface Left {
  readonly rip: bigint;
  readonly what: string;
}

export class GrantUse {
  readonly #mappedAt = new WeakMap<Mapping, bigint>();

  /** After operation `op` was called at `rip`. */
  called(host: Host, domain: Domain, record: CallRecord, op: string, rip: bigint): void {
    if (op !== 'grant_table_op.map_grant_ref') return;
    const { size } = gnttab_map_grant_ref;
    const bytes = peek(host, record.args[1]!, record.words[4]! * size);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at + size <= bytes.length; at += size) {
      const { status, handle } = gnttab_map_grant_ref.read(view, at);
      const mapping = status === GNTST.okay ? maptrack.of(domain).get(handle) : undefined;
      if (mapping !== undefined) this.#mappedAt.set(mapping, rip);
    }
  }

  /** `rip` is where the domain ends. */
  *left(host: Host, domain: Domain, rip: bigint): Generator<Left> {
    const mapped = new Lists<string>();
    for (const [, mapping] of maptrack.of(domain)) {
      const { granter, ref } = mapping;
      mapped.add(`${granter === domain ? 'its own' : `domain ${granter.id}'s`} ${this.#mappedAt.get(mapping) ?? rip}`, ref);
    }
    for (const [key, refs] of mapped) {
      const at = key.lastIndexOf(' ');
      yield { rip: BigInt(key.slice(at + 1)), what: `mapped here and still so at the end: ${listed(refs)} (${key.slice(0, at)})` };
    }
    const table = grantTable(host, domain);
    const { view } = host.memory;
    const granted = new Lists<number>();
    for (let ref = TOOLSTACK_ENTRIES; ref < table.entryCount; ref++) {
      const entry = table.entry(ref);
      if ((view.getUint16(entry, true) & GTF_type_mask) === GTF_invalid) continue;
      granted.add(view.getUint16(entry + grant_entry_v1.offset.domid, true), ref);
    }
    for (const [domid, refs] of granted) {
      yield { rip, what: `the guest ends while it still grants to ${domid === domain.id ? 'itself' : `domain ${domid}`}: ${listed(refs)}` };
    }
  }
}

/** Grant references by what they have in common. */
class Lists<K> extends Map<K, number[]> {
  add(key: K, ref: number): void {
    const refs = this.get(key);
    if (refs) refs.push(ref);
    else this.set(key, [ref]);
  }
}

function listed(refs: readonly number[]): string {
  const sorted = [...new Set(refs)].sort((a, b) => a - b);
  const more = sorted.length - MAX_LISTED;
  return `${sorted.length === 1 ? 'grant' : 'grants'} ${sorted.slice(0, MAX_LISTED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
