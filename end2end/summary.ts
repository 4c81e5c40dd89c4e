// Ends the run with one plain line, as the native test runners do.
import type { FullConfig, Reporter, Suite } from '@playwright/test/reporter';

export default class Summary implements Reporter {
  private suite?: Suite;

  onBegin(_config: FullConfig, suite: Suite) {
    this.suite = suite;
  }

  onExit() {
    const count = { expected: 0, flaky: 0, unexpected: 0, skipped: 0 };
    for (const test of this.suite?.allTests() ?? []) count[test.outcome()] += 1;
    console.log(`end2end: ${count.expected + count.flaky} passed, ${count.unexpected} failed, ${count.skipped} skipped`);
  }

  printsToStdio() {
    return false;
  }
}
