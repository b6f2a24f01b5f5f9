/** What must hold for Credit2 between any two steps of a host. Says what does not. */
import { CSCHED2_CARRYOVER_MAX, CSCHED2_CREDIT_INIT, CSCHED2_CREDIT_MIN } from '../../emulator/scheduler/credit2/parameters.ts';
import type { Runqueue } from '../../emulator/scheduler/credit2/runqueue.ts';
import { CSFLAG_delayed_runq_add, CSFLAG_scheduled, type Unit } from '../../emulator/scheduler/credit2/unit.ts';
import type { Runstate, Simulator, Task } from './simulator.ts';

/** With what a few moves between cpus add. */
const CREDIT_MAX = CSCHED2_CREDIT_INIT + 2 * CSCHED2_CARRYOVER_MAX;

function* queueOf(runqueue: Runqueue): Generator<Unit> {
  for (let unit = runqueue.first; unit !== undefined; unit = unit.next) yield unit;
}

export function violations(simulator: Simulator): string[] {
  const { scheduler, tasks } = simulator;
  const found: string[] = [];
  const claim = (holds: boolean, what: string) => holds || found.push(what);
  const { cpuCount } = scheduler.topology;
  const running = new Map<Unit, number>();
  for (let cpu = 0; cpu < cpuCount; cpu++) {
    const unit = scheduler.current(cpu);
    if (unit === undefined) continue;
    claim(!running.has(unit), `${unit.domain.id}.${unit.id} runs twice`);
    running.set(unit, cpu);
    claim(unit.cpu === cpu, 'who runs is where it is said to be');
  }
  let assigned = 0;
  for (const runqueue of scheduler.runqueues) {
    const queue = [...queueOf(runqueue)];
    assigned += runqueue.units.length;
    for (const [i, unit] of queue.entries()) {
      claim(unit.isQueued && unit.isRunnable && !unit.isRunning, 'who waits can run and does not');
      claim(unit.previous === queue[i - 1], 'the queue is linked both ways');
      claim(i === 0 || queue[i - 1]!.credit >= unit.credit, 'the queue is in order');
      claim(unit.runqueue === runqueue, 'who waits belongs there');
      claim(unit.hardAffinity.has(unit.cpu), 'who waits may run where it is');
    }
    const here = runqueue.units.filter((unit) => running.has(unit));
    claim(runqueue.load === queue.length + here.length, 'the load counts who runs and who waits');
    claim(runqueue.avgload >= 0 && runqueue.balanceAvgload >= 0, 'no load is negative');
    claim(runqueue.maxWeight === Math.max(1, ...runqueue.units.map(({ weight }) => weight)), 'the greatest weight is that of a unit');
    for (const cpu of runqueue.active) {
      claim(runqueue.idle.has(cpu) === (scheduler.current(cpu) === undefined), 'the idle cpus are those where nobody runs');
      claim(!runqueue.tickled.has(cpu) || simulator.isTickled(cpu), 'who is marked as tickled was told');
      const siblings = scheduler.topology.siblings[cpu]!.clone().and(runqueue.active);
      const rests = siblings.isSubsetOf(runqueue.idle) && !siblings.intersects(runqueue.tickled);
      claim(runqueue.smtIdle.has(cpu) === rests, 'idle cores are those of which no thread runs or is about to');
    }
  }
  claim(assigned === tasks.length, 'every unit belongs to one runqueue');
  for (const { unit } of tasks) {
    claim(unit.isRunning === running.has(unit), 'running is what runs');
    claim(((unit.flags & CSFLAG_scheduled) !== 0) === unit.isRunning, 'and is flagged so');
    claim((unit.flags & CSFLAG_delayed_runq_add) === 0 || unit.isRunning, 'only who leaves a cpu waits to be queued');
    claim(!unit.isRunnable || unit.isQueued || unit.isRunning, `${unit.domain.id}.${unit.id} can run and is lost`);
    claim(!unit.isMigrating || unit.isRunning, 'only who runs has to wait to be moved');
    claim(unit.credit >= CSCHED2_CREDIT_MIN && unit.credit <= CREDIT_MAX, `credit ${unit.credit} is in its range`);
    claim(Number.isInteger(unit.credit) && unit.residual >= 0 && unit.residual < 65536, 'credits are integers');
    claim(unit.avgload >= 0 && unit.avgload <= 2 ** 18, "a unit's load is at most one");
    claim(unit.runqueue!.active.has(unit.cpu), "a unit's cpu is of its runqueue");
    claim(unit.isParked === unit.domain.parked.includes(unit), "who is parked is in its domain's list");
    claim(unit.hasCap === unit.domain.cap > 0, 'a budget is what a cap gives');
  }
  return found;
}

/** The four times, which must be all the time since the task began. */
export function untold(task: Task): number {
  const sum = (['running', 'runnable', 'blocked', 'offline'] as Runstate[]).reduce((sum, state) => sum + task.time[state], 0);
  return task.entryTime - task.startTime - sum;
}
