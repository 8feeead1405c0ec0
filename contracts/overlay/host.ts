import type { Key } from '../../market/units.ts'

/** Another host of message boxes, as a token of it says that was verified (docs/protocol.md §14.3). */
export interface Host {
  readonly key: Key
  /** `name` or `name:port`; it speaks https there. */
  readonly domain: string
}

/** A key may say that it is at many domains, and a domain be said of many keys. */
export const nameOf = ({ key, domain }: Host): string => `${key} ${domain}`

export const isSame = (one: Host, other: Host): boolean => nameOf(one) === nameOf(other)
