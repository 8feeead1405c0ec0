/** What the pricing rule remembers: when it decided what and why, whether a person holds it, and what was served by the hour. */
import { z } from 'zod'
import { Milliseconds } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import { damaged } from '../store/codec.ts'
import { metaKey } from '../store/keys.ts'
import type { Reader } from '../store/postings.ts'

const Drift = z.strictObject({ direction: z.literal([-1, 0, 1]), step: z.int().min(0) })
const whole = z.int().min(0)
const Decision = z.strictObject({
  price: z.enum(['storageGBDay', 'egressGB']),
  scarce: z.enum(['disk', 'bandwidth', 'connections']),
  load: whole,
  cost: whole,
  base: whole,
  scarcity: whole,
  wanted: whole,
  before: whole,
  after: whole,
  bound: z.enum(['opening', 'settled', 'step', 'floor', 'ceiling', 'free']),
  drift: Drift,
})

/** Bytes served, of all time, as they stood then. */
const Mark = z.strictObject({ at: Milliseconds, served: whole })
export type Mark = z.infer<typeof Mark>

const RuleRow = z.strictObject({
  /** A person has set prices, or said so: nothing is decided. */
  isHeld: z.boolean(),
  /** 0: never. */
  decidedAt: Milliseconds,
  decisions: z.strictObject({ storageGBDay: Decision, egressGB: Decision }).nullable(),
  /** Oldest first. */
  marks: z.array(Mark).max(64),
})
export type RuleState = z.infer<typeof RuleRow>

const ruleRow = metaKey('rule')
export const newRule: RuleState = { isHeld: false, decidedAt: 0, decisions: null, marks: [] }

/** Undefined where no rule is at work. @throws ERR_INTERNAL when it does not decode */
export function ruleOf(from: Reader): RuleState | undefined {
  const stored = from.get(ruleRow)
  if (stored === undefined) return undefined
  try {
    return RuleRow.parse(JSON.parse(stored.toString()))
  } catch (cause) {
    throw damaged('its pricing rule does not decode', cause)
  }
}

export const putRule = (batch: Batch, rule: RuleState): void =>
  batch.put(ruleRow, Buffer.from(JSON.stringify(rule)))
export const dropRule = (batch: Batch): void => batch.del(ruleRow)

/** From now on nothing is decided, or something is again; where no rule is at work nothing happens, and false is returned. */
export function holdRule(batch: Batch, isHeld: boolean): boolean {
  const rule = ruleOf(batch)
  if (rule !== undefined && rule.isHeld !== isHeld) putRule(batch, { ...rule, isHeld })
  return rule !== undefined
}
