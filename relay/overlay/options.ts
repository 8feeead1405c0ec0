/** What `relayd start` may be told about overlays, beside `--no-overlay`. */
import { z } from 'zod'
import { isAdvertisable } from '../../contracts/overlay/host-advert.ts'
import { UsageError } from '../operator/usage.ts'

export const overlayOptions = {
  'advertise-overlay': {
    type: 'string',
    multiple: true,
    value: 'WHERE',
    help: 'tell which topics and services of overlays are hosted here: self, or the URL of a host (repeatable; costs coins)',
  },
} as const

const mostHosts = 16

const isWhere = (text: string): boolean =>
  text === 'self' || (/^https?:\/\/[^\s]+$/.test(text) && URL.canParse(text))

export const Federation = z.strictObject({
  /** Who is told what is hosted here: `self`, or URLs. Nobody: it is told no more. */
  told: z.array(z.string().refine(isWhere)).max(mostHosts),
})
export type Federation = z.infer<typeof Federation>

/** @throws UsageError */
export function parseFederation(given: Readonly<Record<string, unknown>>): Federation {
  const list = (given['advertise-overlay'] as string[] | undefined) ?? []
  const told = list.map((where) => where.replace(/\/+$/, ''))
  const parsed = Federation.safeParse({ told: [...new Set(told)] })
  if (parsed.success) return parsed.data
  throw new UsageError(`--advertise-overlay takes self, or the URL of a host; at most ${mostHosts}`)
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
