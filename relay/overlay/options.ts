/** What `relayd start` may be told about overlays, beside `--no-overlay`. */
import { z } from 'zod'
import { isAdvertisable } from '../../contracts/overlay/host-advert.ts'
import { Key } from '../../market/units.ts'
import { UsageError } from '../operator/usage.ts'

export const overlayOptions = {
  'advertise-overlay': {
    type: 'string',
    multiple: true,
    value: 'WHERE',
    help: 'tell which topics and services of overlays are hosted here: self, or the URL of a host (repeatable; costs coins)',
  },
  'phip-deny': {
    type: 'string',
    multiple: true,
    value: 'KEY',
    help: 'take no word of this host about who can be reached there (repeatable)',
  },
} as const

const mostHosts = 16

export const Federation = z.strictObject({
  /** Who is told what is hosted here: `self`, or URLs. Nobody: it is told no more. */
  told: z.array(z.string().regex(/^(?:self|https?:\/\/[^\s]+)$/)).max(mostHosts),
  denied: z.array(Key),
})
export type Federation = z.infer<typeof Federation>

/** @throws UsageError */
export function parseFederation(given: Readonly<Record<string, unknown>>): Federation {
  const list = (name: keyof typeof overlayOptions) => (given[name] as string[] | undefined) ?? []
  const told = list('advertise-overlay').map((where) => where.replace(/\/+$/, ''))
  const parsed = Federation.safeParse({ told: [...new Set(told)], denied: list('phip-deny') })
  if (parsed.success) return parsed.data
  throw new UsageError(
    parsed.error.issues[0]?.path[0] === 'told'
      ? `--advertise-overlay takes self, or the URL of a host; at most ${mostHosts}`
      : '--phip-deny takes a compressed public key in lower-case hex',
  )
}

/** @throws UsageError where nobody could come by what would be told */
export function checkFederation(
  { told }: Federation,
  { publicUrl, overlay }: { publicUrl?: string | undefined; overlay: boolean },
): void {
  if (told.length === 0) return
  if (!overlay) throw new UsageError('--advertise-overlay: with --no-overlay there is nothing to tell')
  if (publicUrl === undefined || !isAdvertisable(publicUrl))
    throw new UsageError(
      '--advertise-overlay needs a --public-url that others can reach: https, without a path',
    )
}
