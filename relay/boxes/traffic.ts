/** What clients ask of message boxes over HTTP: counted as it is answered, and bounded for each identity. */
import type { Code } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import { RateLimiter } from '../rate.ts'
import type { BoxCode } from './codes.ts'

type Outcome = BoxCode | Code | 'ok'

const routes = [
  ...['/sendMessage', '/listMessages', '/acknowledgeMessage', '/registerDevice', '/devices'],
  ...['/permissions/set', '/permissions/get', '/permissions/list', '/permissions/quote'],
  ...['/propagateMessage', '/authorizeRouting'],
]

export class BoxTraffic {
  readonly #rate: RateLimiter
  /** By route and outcome: both are of tables. */
  readonly #answered = new Map(routes.map((route) => [route, new Map<Outcome, number>([['ok', 0]])]))

  constructor(requestsPerMinute: number) {
    this.#rate = new RateLimiter(requestsPerMinute, 'too many requests of this identity')
  }

  /** @throws ERR_LIMIT with `retryAfterMs` once this identity has used its minute up */
  admit(identity: Key, now: number): void {
    this.#rate.check(identity, now)
    this.#rate.count(identity, now)
  }

  count(route: string, outcome: Outcome): void {
    const outcomes = this.#answered.get(route)
    outcomes?.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }

  /** Answers since the start. */
  get answered(): { readonly route: string; readonly code: Outcome; readonly count: number }[] {
    return [...this.#answered].flatMap(([route, outcomes]) =>
      [...outcomes].map(([code, count]) => ({ route, code, count })),
    )
  }
}
