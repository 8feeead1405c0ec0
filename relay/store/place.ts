/**
 * Places and cursors (docs/protocol.md §4.4). A place gives a record both its order and its time of arrival:
 * `place = at · 1024 + n`. That is 1 M places a second for ever, and more in bursts (then `at` runs ahead); it fits 2^53 until 2248.
 */
import { MarketError } from '../../market/errors.ts'

const placesPerMs = 1024
export const lastPlace: number = Number.MAX_SAFE_INTEGER

/** The place that follows `previous` at time `now`: places rise strictly, so `at` never falls, whatever the clock does. */
export const nextPlace = (previous: number, now: number): number => Math.max(previous + 1, now * placesPerMs)

/** When what has this place arrived. */
export const timeOf = (place: number): number => Math.floor(place / placesPerMs)

/** The last place of the millisecond `ts`: `at > ts` is `place > placeAt(ts)`, `at ≤ ts` is `place ≤ placeAt(ts)`. */
export const placeAt = (ts: number): number => Math.min((ts + 1) * placesPerMs - 1, lastPlace)

/** A run of places without a gap: a store, until it is restored from a backup that may lack its end. */
export interface Epoch {
  readonly epoch: string
  readonly startedAt: number
  /** The epochs of which a restored store holds the beginning, each with its last place that is in the backup. */
  readonly earlier?: readonly { readonly epoch: string; readonly lastPlace: number }[] | undefined
}

export const cursorOf = ({ epoch }: Epoch, place: number): string => `${epoch}.${place}`

/**
 * The place of a cursor of this epoch. Its form was checked by the schema.
 * @throws ERR_EXPIRED with `resumeTs`, the time from which another epoch's holder must ask again to lose nothing.
 */
export function placeOfCursor(store: Epoch, cursor: string): number {
  const [given, digits] = cursor.split('.')
  const place = Number(digits)
  if (!Number.isSafeInteger(place)) throw new MarketError('ERR_MALFORMED', 'not a cursor')
  if (given === store.epoch) return place
  // One less: `afterTs` is exclusive, and more may have arrived within that millisecond.
  throw cursorExpired(Math.max(0, Math.min(timeOf(place), sharedUntil(store, given)) - 1))
}

/**
 * Until when the holder of a cursor of epoch `given` has seen what this store holds. Places that followed in `given` may be
 * those of other records here, and whether their times are too depends on the clocks of two machines: so places decide.
 */
function sharedUntil({ startedAt, earlier = [] }: Epoch, given: string | undefined): number {
  const known = earlier.find(({ epoch }) => epoch === given)
  if (known !== undefined) return timeOf(known.lastPlace)
  // A restored store holds records from before it started; what the holder knows of those cannot be told.
  return earlier.length === 0 ? startedAt : 0
}

export const cursorExpired = (resumeTs: number): MarketError =>
  new MarketError('ERR_EXPIRED', 'the cursor is not of this store as it is now', { extras: { resumeTs } })
