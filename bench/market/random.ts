/** Chance that comes out the same for the same seed. */
export interface Chance {
  /** From 0 up to 1, not included. */
  (): number
  /** A whole number from 0 up to `below`, not included. */
  below(limit: number): number
  /** Spread about 1: the logarithm is normal with this deviation. */
  about(deviation: number): number
}

export function chanceOf(seed: number): Chance {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number): number => Math.floor(next() * limit)
  const about = (deviation: number): number =>
    Math.exp(deviation * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()))
  return Object.assign(next, { below, about })
}
