/** What a relay's operator may order, as JSON: a schema for each order. */
import { z } from 'zod'
import { fromHex } from '../../market/bytes.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { isPublicKey } from '../../market/secp256k1.ts'
import { Key, mostSatoshi } from '../../market/units.ts'
import { PriceChange } from '../pricing.ts'
import { advertOrders } from './advert-orders.ts'
import { boxOrders } from './box-orders.ts'
import { contractOrders } from './contract-orders.ts'

/** Entries of an account in one answer. */
export const pageEntries = 1000

const Satoshi = z.int().min(1).max(mostSatoshi)
const Account = z.strictObject({ key: Key.refine((key) => key !== ANYONE_KEY, 'key 1 has no account') })
/** Credit for what nobody can have the private key of would be lost. What was given to such is still taken back. */
const Point = Account.shape.key.refine(
  (key) => !Key.safeParse(key).success || isPublicKey(fromHex(key)),
  'no such key can exist',
)
const Nothing = z.strictObject({})

export const Orders = {
  ping: Nothing,
  status: Nothing,
  'confirm-clock': Nothing,
  'confirm-restore': Nothing,
  grant: z.strictObject({ key: Point, satoshi: Satoshi, id: z.string().min(1).max(128).optional() }),
  revoke: Account.extend({ satoshi: Satoshi }),
  accounts: z.strictObject({ after: Key.optional() }),
  account: Account.extend({ limit: z.int().min(0).max(pageEntries) }),
  prices: Nothing,
  'set-prices': PriceChange,
  'explain-prices': Nothing,
  'auto-price': z.strictObject({ isOn: z.boolean() }),
  check: Nothing,
  explain: z.strictObject({ about: z.string().max(512), after: z.int().min(0) }),
  ...contractOrders,
  ...advertOrders,
  ...boxOrders,
  backup: z.strictObject({ directory: z.string().min(1) }),
} as const
export type Order = keyof typeof Orders
export type OrderOf<O extends Order> = z.infer<(typeof Orders)[O]>
