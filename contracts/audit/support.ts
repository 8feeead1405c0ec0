/** What supports a pull that is not forged (docs/protocol.md §4.10). */
import type { UsagePull } from '../usage.ts'
import type { Acks } from './acks.ts'
import { isUnacked, type Life } from './life.ts'

export type Support = 'acknowledged' | 'payable' | 'unproven'

/** @param isFirst whether it is the first such pull of its record */
export function supportOf(
  { re }: UsagePull,
  { life, acks, isFirst }: { life: Life; acks: Acks; isFirst: boolean },
): Support {
  if (re !== null && acks.has(life.path, re)) return 'acknowledged'
  if (life.purse === undefined) return 'unproven'
  return isFirst || re === null || isUnacked(life) ? 'payable' : 'unproven'
}
