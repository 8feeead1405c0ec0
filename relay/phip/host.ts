import type { Key } from '../../market/units.ts'

/** Another host of message boxes, as a token of it says that was verified (docs/protocol.md §14.3). */
export interface Host {
  readonly key: Key
  /** `name` or `name:port`; it speaks https there. */
  readonly domain: string
}
