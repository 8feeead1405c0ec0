/** One life of a record on a relay: from its receipt to its end, with what the report in hand lists of it. */
import { ANYONE_KEY } from '../../market/identity.ts'
import { unackedTags } from '../../market/payload.ts'
import { isBoxId } from '../../market/record.ts'
import type { Key, Prices } from '../../market/units.ts'
import type { UsagePull } from '../usage.ts'
import type { BookedRecord } from './books.ts'

type Known = Omit<BookedRecord, 'purse' | 'prices'> & {
  /** Undefined for an unsettled record. */
  readonly purse: string | undefined
  readonly prices: Prices | undefined
}

export class Life {
  readonly record: Known
  /** From here on nothing is billed. */
  readonly end: number
  /** Most records are pulled once: for them no list is made. For others to read. */
  first: UsagePull | undefined
  #others: UsagePull[] | undefined

  constructor(record: Known) {
    this.record = record
    const { paidUntil, deletedAt } = record
    this.end = deletedAt === undefined ? paidUntil : Math.min(paidUntil, deletedAt)
  }

  get path(): string {
    return this.record.path
  }
  get at(): number {
    return this.record.at
  }
  get purse(): string | undefined {
    return this.record.purse
  }
  get isPublic(): boolean {
    return this.path.startsWith(ANYONE_KEY, receiverPlace)
  }

  get pullCount(): number {
    return this.first === undefined ? 0 : 1 + (this.#others?.length ?? 0)
  }
  /** In the order in which they were listed. */
  get pulls(): readonly UsagePull[] {
    if (this.first === undefined) return noPulls
    return this.#others === undefined ? [this.first] : [this.first, ...this.#others]
  }
  /** The only one, where there is only one. */
  get onlyPull(): UsagePull | undefined {
    return this.#others === undefined ? this.first : undefined
  }

  list(pull: UsagePull): void {
    if (this.first === undefined) this.first = pull
    else if (this.#others === undefined) this.#others = [pull]
    else this.#others.push(pull)
  }

  clear(): void {
    this.first = undefined
    this.#others = undefined
  }
}

/** Whether it may be billed to this purse. */
export const isIn = ({ record }: Life, purse: string): boolean =>
  record.purse === purse || record.movedTo?.includes(purse) === true

/** Whether its pulls are payable on the signed read alone, because nobody acks them. */
export const isUnacked = (life: Life): boolean => life.isPublic || unackedTags.includes(life.record.tag)

/** Whether it is of a message in a box, as the relay tells it: no receipt says that there is one (docs/protocol.md §13.3). */
export const isBoxed = ({ path, re }: UsagePull): boolean => re === null && isBoxId(recordIdOf(path))

const recordIdPlace = '/'.length + 66 + '/outbox/'.length + 66 + '/'.length
const receiverPlace = recordIdPlace - '/'.length - 66
export const receiverOf = (path: string): Key => path.slice(receiverPlace, receiverPlace + 66)
export const recordIdOf = (path: string): string => path.slice(recordIdPlace)
const noPulls: readonly UsagePull[] = []
