/** The row that says what this relay asks for (pricing.ts decides on it). */
import { z } from 'zod'
import { Milliseconds, Prices } from '../../market/units.ts'
import { damaged } from './codec.ts'
import { metaKey } from './keys.ts'

export const Tariff = z.strictObject({
  prices: Prices,
  /** Prices that were decided on and do not hold yet. */
  next: z.strictObject({ prices: Prices, from: Milliseconds }).nullable(),
  /** What `--price` said when the relay was last started: only a change of it is a new word. */
  configured: Prices,
  /** Whether everybody writes free of charge (`--open`), whatever the prices are. */
  open: z.boolean().default(false),
})
export type Tariff = z.infer<typeof Tariff>

export const tariffRow = metaKey('prices')

export const encodeTariff = (tariff: Tariff): Buffer => Buffer.from(JSON.stringify(tariff))

/** @throws ERR_INTERNAL when it does not decode */
export function decodeTariff(stored: Buffer): Tariff {
  try {
    return Tariff.parse(JSON.parse(stored.toString()))
  } catch (cause) {
    throw damaged('its prices do not decode', cause)
  }
}
