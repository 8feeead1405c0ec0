/**
 * Prices that follow the load (docs/operating.md): every few hours the rule of market/pricing-rule.ts decides on what was measured,
 * and what it decided is written together with the prices that follow. A person's word stands above it: prices that were set by
 * hand hold until the rule is switched on again.
 */
import { MarketError } from '../../market/errors.ts'
import { decidePrices, type Load, type MovingPrice, type PriceDecision } from '../../market/pricing-rule.ts'
import type { Prices } from '../../market/units.ts'
import type { Pricing } from '../pricing.ts'
import type { Batch } from '../store/batch.ts'
import type { Log } from '../store/committer.ts'
import type { Store } from '../store/store.ts'
import { type LoadSources, marked, measureLoad, servedBytes } from './load.ts'
import type { AutoPrice } from './price-options.ts'
import { dropRule, type Mark, newRule, putRule, type RuleState, ruleOf } from './rule-row.ts'

/** How often it is looked whether a decision is due. */
const lookEveryMs = 30_000

export interface PriceRuleOptions extends Omit<LoadSources, 'store'> {
  readonly store: Store
  readonly pricing: Pricing
  readonly parameters: AutoPrice
  readonly now: () => number
  readonly log?: Log | undefined
}

/** Why prices are what they are. */
export interface Explained {
  readonly state: 'on' | 'held' | 'off'
  /** Of this moment; null where no relay runs that could measure. */
  readonly load: Load | null
  readonly parameters: AutoPrice | null
  /** The last ones; null before the first. */
  readonly decisions: Readonly<Record<MovingPrice, PriceDecision>> | null
  readonly decidedAt: number | null
  /** When it decides next; null while it does not. */
  readonly nextAt: number | null
  readonly prices: Prices
  readonly next: { readonly prices: Prices; readonly from: number } | null
}

export class PriceRule {
  readonly #options: PriceRuleOptions

  private constructor(options: PriceRuleOptions) {
    this.#options = options
  }

  /** Goes on where the last one on this store was. */
  static async open(options: PriceRuleOptions): Promise<PriceRule> {
    await options.store.commit((batch) => {
      if (ruleOf(batch) === undefined) putRule(batch, newRule)
    })
    return new PriceRule(options)
  }

  /** Without `--auto-price`, what is remembered of a rule is over. */
  static async end(store: Store): Promise<void> {
    if (ruleOf(store) !== undefined) await store.commit(dropRule)
  }

  /** Looks by itself from now on. Returns how to stop. */
  keepLooking(): () => Promise<void> {
    const { log } = this.#options
    let looking: Promise<unknown> = Promise.resolve()
    const look = () => {
      looking = this.look().catch((err) => log?.error({ err }, 'prices were not decided on'))
    }
    const timer = setInterval(look, lookEveryMs)
    return async () => {
      clearInterval(timer)
      await looking
    }
  }

  /** Decides, if it is time. Resolves with whether prices were decided on when what follows is durable. */
  async look(): Promise<boolean> {
    const { store, now } = this.#options
    const rule = this.#state
    const at = now()
    const marks = marked(rule.marks, at, servedBytes(store))
    if (!rule.isHeld && this.#isDue(rule, at)) return this.#decide(marks, at)
    if (marks !== rule.marks)
      await store.commit((batch) => putRule(batch, { ...stateOf(batch), marks: [...marks] }))
    return false
  }

  explain(): Explained {
    const { store, pricing, parameters, now } = this.#options
    const rule = this.#state
    const nextAt = rule.isHeld ? null : this.#dueAt(rule, now())
    const load = measureLoad(this.#options, marked(rule.marks, now(), servedBytes(store)), now())
    return { ...explainStored(store, pricing, now()), parameters, load, nextAt }
  }

  get #state(): RuleState {
    return stateOf(this.#options.store)
  }

  #dueAt({ decidedAt }: RuleState, now: number): number {
    return decidedAt === 0 ? now : decidedAt + this.#options.parameters.every * 60_000
  }

  /** Also after a clock was set back by more than the time between two decisions. */
  #isDue(rule: RuleState, now: number): boolean {
    const dueAt = this.#dueAt(rule, now)
    return now >= dueAt || now < rule.decidedAt - (dueAt - rule.decidedAt)
  }

  async #decide(marks: readonly Mark[], at: number): Promise<boolean> {
    const { store, pricing, parameters, log } = this.#options
    const before = pricing.next(at)?.prices ?? pricing.at(at)
    const { storageGBDay, egressGB } = this.#state.decisions ?? {}
    const drifts = {
      ...(storageGBDay && { storageGBDay: storageGBDay.drift }),
      ...(egressGB && { egressGB: egressGB.drift }),
    }
    const decisions = decidePrices(measureLoad(this.#options, marks, at), parameters, before, drifts)
    const remember = (batch: Batch): void => {
      const rule = stateOf(batch)
      if (rule.isHeld) throw heldMeanwhile
      putRule(batch, { ...rule, decidedAt: at, decisions, marks: [...marks] })
    }
    const change = { storageGBDay: decisions.storageGBDay.after, egressGB: decisions.egressGB.after }
    const isMove = change.storageGBDay !== before.storageGBDay || change.egressGB !== before.egressGB
    try {
      // A new store sells at once: it has quoted nothing before its first decision, which comes before it is reached.
      const atOnce = store.isNew && this.#state.decidedAt === 0
      if (isMove) await pricing.set(change, remember, atOnce)
      else await store.commit(remember)
    } catch (error) {
      if (error === heldMeanwhile) return false
      throw error
    }
    if (isMove) log?.info({ decisions }, 'prices move')
    return true
  }
}

/** What can be told of a store, whether or not its relay runs. */
export function explainStored(store: Store, pricing: Pricing, now: number): Explained {
  const rule = ruleOf(store)
  return {
    state: rule === undefined ? 'off' : rule.isHeld ? 'held' : 'on',
    load: null,
    parameters: null,
    decisions: rule?.decisions ?? null,
    decidedAt: rule === undefined || rule.decidedAt === 0 ? null : rule.decidedAt,
    nextAt: null,
    prices: pricing.at(now),
    next: pricing.next(now),
  }
}

const heldMeanwhile = new MarketError('ERR_CONFLICT', 'prices were set by hand meanwhile')
const stateOf = (from: Parameters<typeof ruleOf>[0]): RuleState => ruleOf(from) ?? newRule
