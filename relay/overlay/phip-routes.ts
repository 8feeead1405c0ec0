/** `tm_phip` and `ls_phip`: which hosts take messages for whom (BRC-34; docs/protocol.md §14.3). */
import { z } from 'zod'
import { parsePhip, type Phip, phipServices, phipTopic, readPhip } from '../../contracts/overlay/phip.ts'
import type { Key } from '../../market/units.ts'
import { KeyText } from './query.ts'
import type { Claim, TokenKind } from './token-kind.ts'

export type PhipClaim = Omit<Phip, 'authorization'> & Claim

function claimOf(found: Phip | undefined, denied: ReadonlySet<Key>): PhipClaim | undefined {
  if (found === undefined || denied.has(found.host)) return undefined
  const { authorization, ...rest } = found
  return { ...rest, maker: `${found.host} ${found.user}`, about: found.user }
}

/** @param denied hosts whose tokens are not taken */
export const phipKind = (denied: ReadonlySet<Key>): TokenKind<PhipClaim> => ({
  topic: phipTopic,
  service: phipServices[0],
  aliases: [phipServices[1]],
  about: {
    topic: 'Which hosts take messages for whom (PHIP)',
    service: 'Which hosts take messages for somebody',
  },
  documentation: {
    topic: `Admits an output with a PushDrop script (BRC-48) of five or six fields and a signature: \`PHIP\`, the identity key of the host
(33 bytes), its domain, the identity key of a user, the signature of the user, and a regular expression for the boxes. Lock and signature
are by the host's key with counterparty anyone and the invoice number \`2-phip-1\`. The user signs
\`<host key> <domain> <regular expression, or ALL>\` with \`[1, 'PHIP authorization']\`, key ID \`1\`, counterparty anyone. Regular
expressions that cannot be tested in linear time are not taken. Spent: revoked.`,
    service: `The tokens of ${phipTopic}, newest first. A query is \`{"user"}\`; \`recipient\` and \`identityKey\` are other names of it.`,
  },
  perMaker: 4,
  parse: (script) => claimOf(parsePhip(script), denied),
  read: (script) => claimOf(readPhip(script), denied),
  query: z
    .object({ user: KeyText.optional(), recipient: KeyText.optional(), identityKey: KeyText.optional() })
    .transform(({ user, recipient, identityKey }, context) => {
      const asked = user ?? recipient ?? identityKey
      if (asked === undefined) {
        context.addIssue({ code: 'custom', message: 'a user is needed' })
        return z.NEVER
      }
      return { about: [asked], fits: () => true }
    }),
})
