/** Takes back all memory of a domain that will not run again (xen:arch/x86/domain.c domain_relinquish_resources). */
import { releasePerdomainArea } from './address_space.ts';
import { destroyLdt, setGdt } from './descriptor_mapping.ts';
import { letGoOfAll } from './held_frames.ts';
import { FRAME_ALLOCATED, FRAME_PINNED, FRAME_XEN_HEAP, type MachineMemory } from './machine_memory.ts';
import type { MemoryDomain } from './memory_domain.ts';
import { putPageAndType } from './page_types.ts';
import { releaseTables } from './pv_cr3.ts';

/** Frames that another domain still maps are freed when it lets go of them. */
export function releaseDomainMemory(memory: MachineMemory, domain: MemoryDomain): void {
  for (const vcpu of domain.vcpus) {
    releaseTables(memory, vcpu);
    destroyLdt(memory, vcpu);
    setGdt(memory, vcpu, [], 0);
  }
  letGoOfAll(memory, domain);
  const mine = (mfn: number) => memory.owner[mfn] === domain.id;
  for (let mfn = 0; mfn < memory.frameCount; mfn++) {
    if (!mine(mfn) || !(memory.flags[mfn]! & FRAME_PINNED)) continue;
    memory.flags[mfn]! &= ~FRAME_PINNED;
    putPageAndType(memory, mfn);
  }
  for (let mfn = 0; mfn < memory.frameCount; mfn++) {
    if (!mine(mfn) || !(memory.flags[mfn]! & FRAME_ALLOCATED)) continue;
    if (memory.flags[mfn]! & FRAME_XEN_HEAP) memory.releaseShared(mfn);
    else {
      memory.flags[mfn]! &= ~FRAME_ALLOCATED;
      memory.putPage(mfn);
    }
  }
  releasePerdomainArea(memory, domain);
}
