/**
 * Writes a machine's timeline as trace text (trace_text.ts): what every vCPU did on which core, its hypercalls, its events, and
 * who woke it. It keeps one small record for each vCPU, however long it records.
 */
import { errnoName } from '../../hypercalls/abi/errno.ts';
import { RUNSTATE_blocked, RUNSTATE_offline, RUNSTATE_running } from '../../hypercalls/abi/vcpu.ts';
import { currentRunstate } from '../../hypercalls/vcpu/runstate.ts';
import type { Domain } from '../domain.ts';
import type { Host } from '../host.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Timeline } from './timeline.ts';
import {
  arrowEnd,
  arrowStart,
  CATEGORY_CORE,
  CATEGORY_RUNSTATE,
  CORES_PID,
  callsTid,
  coreTid,
  DOMAIN_PID,
  instant,
  nameProcess,
  nameThread,
  runstateNames,
  runstateTid,
  span,
  type Thread,
} from './trace_text.ts';

interface Ended {
  readonly name: string;
  readonly begin: number;
  readonly result: number | bigint | undefined;
}

interface Track {
  readonly vcpu: Vcpu;
  readonly runstates: Thread;
  readonly calls: Thread;
  /** RUNSTATE_*. */
  state: number;
  since: number;
  /** Where it runs or ran last, -1: nowhere yet. */
  core: number;
  /** Since when it has been awake without a core, -1: it was not woken; and the arrow from who woke it, 0: none. */
  wokenAt: number;
  arrow: number;
  /** How long it waited for the core that it has, -1: it was not woken. */
  waited: number;
  /** When the hypercalls in progress began, one within the other. */
  readonly begun: number[];
  /** Hypercalls that return when it runs again. */
  readonly sleeping: Ended[];
}

export class Recorder implements Timeline {
  readonly #host: Host;
  readonly #write: (text: string) => void;
  readonly #tracks = new Map<Vcpu, Track>();
  readonly #named = new Set<number>();
  #arrows = 0;
  /** In whose hypercall ring -1 is. */
  #caller: Track | undefined;
  /** The latest event that it has sent: who may be woken by it. */
  #raised: { readonly domain: Domain; readonly sender: Track } | undefined;

  /** `write` gets what belongs between TRACE_HEAD and TRACE_END. */
  constructor(host: Host, coreCount: number, write: (text: string) => void) {
    this.#host = host;
    this.#write = write;
    for (let core = 0; core < coreCount; core++) write(nameThread({ pid: CORES_PID, tid: coreTid(core) }, `core ${core}`));
    for (const { vcpus } of host.domains.values()) for (const vcpu of vcpus) this.#trackOf(vcpu);
  }

  runstateChanged(vcpu: Vcpu, state: number): void {
    const track = this.#trackOf(vcpu);
    const old = track.state;
    if (state === old) return;
    // The core on which it ran last may be ahead of the one that acts.
    const ns = Math.max(this.#host.clock.ns, track.since);
    this.#close(track, ns);
    track.state = state;
    track.since = ns;
    if (old === RUNSTATE_blocked && vcpu.isReady) this.#wake(track, ns);
    else if (state === RUNSTATE_offline && !vcpu.isReady) track.wokenAt = -1;
    if (state === RUNSTATE_running) this.#enter(track, ns);
  }

  hypercallBegins(vcpu: Vcpu): void {
    const track = this.#trackOf(vcpu);
    track.begun.push(this.#host.clock.ns);
    this.#caller = track;
  }

  hypercallEnds(vcpu: Vcpu, name: string, result: number | bigint | undefined): void {
    const track = this.#trackOf(vcpu);
    const call = { name, begin: track.begun.pop() ?? this.#host.clock.ns, result };
    if (track.begun.length === 0) this.#caller = this.#raised = undefined;
    if (vcpu.isReady) this.#call(track, call, this.#host.clock.ns);
    else track.sleeping.push(call);
  }

  eventRaised(vcpu: Vcpu, port: number, source: string): void {
    const track = this.#trackOf(vcpu);
    const { ns } = this.#host.clock;
    const sender = this.#caller;
    this.#raised = sender && { domain: vcpu.domain, sender };
    const from = sender === undefined ? '' : `,"from":"${sender.vcpu.name}"`;
    this.#write(instant(`event ${port}`, 'event', track.calls, ns, `"source":"${source}"${from}`));
  }

  upcallBegins(vcpu: Vcpu): void {
    this.#write(instant('upcall', 'event', this.#trackOf(vcpu).calls, this.#host.clock.ns, ''));
  }

  domainEnds({ vcpus }: Domain): void {
    for (const vcpu of vcpus) {
      const track = this.#trackOf(vcpu);
      this.#finish(track);
      this.#tracks.delete(vcpu);
    }
  }

  /** What has not ended yet, has lasted until now. */
  finish(): void {
    for (const track of this.#tracks.values()) this.#finish(track);
    this.#tracks.clear();
  }

  #finish(track: Track): void {
    const ns = Math.max(this.#host.clock.ns, track.since);
    this.#close(track, ns);
    for (const call of track.sleeping.splice(0)) this.#call(track, call, ns);
  }

  /** Writes the state that ends. */
  #close({ vcpu, runstates, state, since, core, waited }: Track, ns: number): void {
    if (state !== RUNSTATE_running) {
      this.#write(span(runstateNames[state]!, CATEGORY_RUNSTATE, runstates, since, ns, ''));
      return;
    }
    const args = waited < 0 ? '' : `,"wake_to_run_ns":${waited}`;
    this.#write(span(runstateNames[state]!, CATEGORY_RUNSTATE, runstates, since, ns, `"core":${core}${args}`));
    this.#write(span(vcpu.name, CATEGORY_CORE, { pid: CORES_PID, tid: coreTid(core) }, since, ns, ''));
  }

  #wake(track: Track, ns: number): void {
    const sender = this.#raised?.domain === track.vcpu.domain ? this.#raised.sender : undefined;
    track.wokenAt = ns;
    this.#write(instant('wake', 'wake', track.calls, ns, sender === undefined ? '' : `"from":"${sender.vcpu.name}"`));
    if (sender === undefined) return;
    track.arrow = ++this.#arrows;
    this.#write(arrowStart(track.arrow, sender.runstates, this.#host.clock.ns));
  }

  #enter(track: Track, ns: number): void {
    const { cpu } = track.vcpu.unit!;
    if (track.core >= 0 && track.core !== cpu)
      this.#write(instant('migration', 'migration', track.calls, ns, `"from":${track.core},"to":${cpu}`));
    track.core = cpu;
    track.waited = track.wokenAt < 0 ? -1 : ns - track.wokenAt;
    track.wokenAt = -1;
    if (track.arrow > 0) this.#write(arrowEnd(track.arrow, track.runstates, ns));
    track.arrow = 0;
    for (const call of track.sleeping.splice(0)) this.#call(track, call, ns);
  }

  #call({ calls }: Track, { name, begin, result }: Ended, end: number): void {
    this.#write(span(name, 'hypercall', calls, begin, end, resultText(result)));
  }

  #trackOf(vcpu: Vcpu): Track {
    return this.#tracks.get(vcpu) ?? this.#begin(vcpu);
  }

  #begin(vcpu: Vcpu): Track {
    const { id: domid, name } = vcpu.domain;
    const pid = DOMAIN_PID + domid;
    if (!this.#named.has(domid)) {
      this.#named.add(domid);
      this.#write(nameProcess(pid, `d${domid} ${name}`));
    }
    const state = currentRunstate(vcpu);
    const track: Track = {
      vcpu,
      runstates: { pid, tid: runstateTid(vcpu.id) },
      calls: { pid, tid: callsTid(vcpu.id) },
      state,
      since: this.#host.clock.ns,
      core: state === RUNSTATE_running ? vcpu.unit!.cpu : -1,
      wokenAt: -1,
      arrow: 0,
      waited: -1,
      begun: [],
      sleeping: [],
    };
    this.#write(nameThread(track.runstates, `v${vcpu.id}`));
    this.#write(nameThread(track.calls, `v${vcpu.id} calls`));
    this.#tracks.set(vcpu, track);
    return track;
  }
}

function resultText(result: number | bigint | undefined): string {
  if (result === undefined) return '"again":true';
  if (typeof result === 'bigint') return `"result":"${result}"`;
  const name = result < 0 ? errnoName(-result) : undefined;
  return `"result":${result}${name === undefined ? '' : `,"errno":"${name}"`}`;
}
