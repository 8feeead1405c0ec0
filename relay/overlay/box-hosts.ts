/** `tm_messagebox` and `ls_messagebox`: where people have their message boxes, as they say themselves (docs/protocol.md §14.1). */
import { z } from 'zod'
import {
  type BoxHost,
  boxService,
  boxTopic,
  parseBoxHost,
  readBoxHost,
} from '../../contracts/overlay/box-host.ts'
import { KeyText } from './query.ts'
import type { Claim, TokenKind } from './token-kind.ts'

type BoxHostClaim = BoxHost & Claim

const claimOf = (found: BoxHost | undefined): BoxHostClaim | undefined =>
  found && { ...found, maker: found.identity, about: found.identity }

export const boxHosts: TokenKind<BoxHostClaim> = {
  topic: boxTopic,
  service: boxService,
  about: { topic: 'Where people have their message boxes', service: 'Where somebody has his message boxes' },
  documentation: {
    topic: `Admits an output with a PushDrop script of two fields and a signature: the identity key of whoever has message boxes (33
bytes), and the URL of their host. Lock and signature are by his key of \`[1, 'messagebox advertisement']\`, key ID \`1\`,
counterparty anyone, \`forSelf\`. Spent: revoked.`,
    service: `The tokens of ${boxTopic}, newest first. A query is \`{"identityKey"}\`, or \`{"identityKey", "host"}\`.`,
  },
  perMaker: 16,
  parse: (script) => claimOf(parseBoxHost(script)),
  read: (script) => claimOf(readBoxHost(script)),
  query: z
    .object({ identityKey: KeyText, host: z.string().optional() })
    .transform(({ identityKey, host }) => ({
      about: [identityKey],
      fits: (claim: BoxHostClaim) => host === undefined || claim.host === host,
    })),
}
