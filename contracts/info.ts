/** What a relay says of itself to everybody (docs/protocol.md §7.4). */
import { z } from 'zod'
import { Key } from '../market/units.ts'

export const protocolVersion = 1

/** `GET /.well-known/relay`: only what this relay enforces (§7.4). */
export const Info = z.object({
  key: Key,
  network: z.enum(['main', 'test', 'regtest', 'devnet']).nullable(),
  software: z.string(),
  version: z.string(),
  protocol: z.literal(protocolVersion),
  features: z.array(z.string()),
  limits: z.object({
    recordBytes: z.int(),
    ttl: z.int(),
    page: z.int(),
    batch: z.int(),
    bodyBytes: z.int(),
    replyBytes: z.int(),
    subscriptions: z.int(),
    replay: z.int(),
  }),
  /** Bytes that it may promise to keep, and of these what is promised and what is not; a relay that does not say has no word on it. */
  capacity: z.object({ bytes: z.int(), sold: z.int(), free: z.int() }).optional(),
  /** `decodeAdvert` of its canonical text says whether it is one. */
  advert: z.unknown(),
  contracts: z.unknown(),
  endpoints: z.record(z.string(), z.string()),
})
export type Info = z.infer<typeof Info>

/** What a client may use only where `features` lists it. */
export const features = [
  'store',
  'batch',
  'listen',
  'prove',
  'quote',
  'account',
  'owner',
  'detail',
  'maxPulls',
  'bilateralPulls',
  'RequestUsage',
  'withdraw',
  'contracts',
  'adverts',
  'boxes',
] as const
export type Feature = (typeof features)[number]
