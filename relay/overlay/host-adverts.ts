/** `tm_ship`, `tm_slap` and their services: who hosts which topics and lookup services (BRC-88; docs/protocol.md §14.2). */
import { z } from 'zod'
import {
  type HostAdvert,
  type Hosting,
  hostingNames,
  parseHostAdvert,
  readHostAdvert,
} from '../../contracts/overlay/host-advert.ts'
import { KeyText, Paging } from './query.ts'
import type { Claim, Search, TokenKind } from './token-kind.ts'

type HostClaim = HostAdvert & Claim

const Names = z.array(z.string()).max(64)
const Query = z.union([
  z.literal('findAll'),
  z.object({
    findAll: z.boolean().optional(),
    domain: z.string().optional(),
    identityKey: KeyText.optional(),
    /** Of `ls_ship`. */
    topics: Names.optional(),
    /** Of `ls_slap`. */
    service: z.string().optional(),
    ...Paging,
  }),
])

const what = { SHIP: 'topics', SLAP: 'lookup services' } as const

function kindOf(hosting: Hosting): TokenKind<HostClaim> {
  const { topic, service } = hostingNames[hosting]
  const claimOf = (found: HostAdvert | undefined): HostClaim | undefined =>
    found && { ...found, maker: found.identity, about: found.name }
  const protocol = hosting === 'SHIP' ? 'service host interconnect' : 'service lookup availability'
  const asked = hosting === 'SHIP' ? '`topics` (names)' : '`service` (a name)'
  return {
    topic,
    service,
    about: { topic: `Who hosts which ${what[hosting]}`, service: `Which hosts have which ${what[hosting]}` },
    documentation: {
      topic: `Admits an output with a PushDrop script of four fields and a signature: \`${hosting}\`, the identity key of the host (33
bytes), its base URI, which others can reach (BRC-101), and a name (BRC-87). Lock and signature are by its key of
\`[2, '${protocol}']\`, key ID \`1\`, counterparty anyone, \`forSelf\`. Spent: revoked.`,
      service: `The tokens of ${topic}, newest first. A query is \`"findAll"\`, or has any of ${asked}, \`domain\` (the URI),
\`identityKey\`, \`limit\` and \`skip\`.`,
    },
    perMaker: 128,
    parse: (script) => claimOf(parseHostAdvert(hosting, script)),
    read: (script) => claimOf(readHostAdvert(hosting, script)),
    query: Query.transform((query) => searchOf(hosting, query)),
  }
}

function searchOf(hosting: Hosting, query: z.infer<typeof Query>): Search<HostClaim> {
  if (query === 'findAll') return { fits: () => true }
  const { domain, identityKey, topics, service, limit, skip } = query
  const about = hosting === 'SHIP' ? topics : service === undefined ? undefined : [service]
  return {
    ...{ about: about && [...new Set(about)], limit, skip },
    fits: ({ uri, identity }) =>
      (domain === undefined || uri === domain) && (identityKey === undefined || identity === identityKey),
  }
}

export const hostAdverts: Readonly<Record<Hosting, TokenKind<HostClaim>>> = {
  SHIP: kindOf('SHIP'),
  SLAP: kindOf('SLAP'),
}
