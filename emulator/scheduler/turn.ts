/** The turn of the core that acts, as those see it who may end it (cores.ts, timers.ts). */
export interface Turn {
  /** Neither timers nor the scheduler have had news since it began: as far as its time goes, the core may go on. */
  isValid: boolean;
}
