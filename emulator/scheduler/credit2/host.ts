/** What Credit2 asks of the run loop. Times are virtual nanoseconds, integers below 2^53. */

export interface HostTimer {
  readonly deadline: unknown;
}

export interface SchedulerHost {
  /** The time on the cpu that acts, or of the timer that fires. */
  now(): number;
  /** `cpu` has to call `schedule` as soon as it can: Xen's SCHEDULE softirq. */
  tickle(cpu: number): void;
  setTimer(deadline: number, fire: () => void): HostTimer;
  /** Harmless on one that has fired. */
  cancelTimer(timer: HostTimer): void;
}
