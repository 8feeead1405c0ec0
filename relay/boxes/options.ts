/** What `relayd start` may be told about message boxes. */
import { z } from 'zod'
import { mostSatoshi } from '../../market/units.ts'
import { UsageError } from '../operator/usage.ts'

export const boxOptions = {
  'open-boxes': {
    type: 'boolean',
    help: 'let everybody leave messages in message boxes free of charge, within their quotas',
  },
  'no-boxes': { type: 'boolean', help: 'have no message boxes (BRC-33)' },
  'box-fee': {
    type: 'string',
    multiple: true,
    value: 'BOX=SATOSHI',
    help: 'what a delivery into this message box costs its sender (repeatable; needs a wallet)',
  },
  'push-webhook': {
    type: 'string',
    value: 'URL',
    help: 'tell this program of yours of messages for registered devices (signed with DIR/push-webhook.secret)',
  },
} as const

export const Boxes = z.strictObject({
  isServed: z.boolean(),
  /** Everybody may send, free of charge. */
  isOpen: z.boolean(),
  /** Satoshi for this relay, of one delivery into a box. */
  fees: z.record(z.string(), z.int().min(0).max(mostSatoshi)),
  /** Who is told of messages for devices. */
  pushWebhook: z.string().optional(),
})
export type Boxes = z.infer<typeof Boxes>

/** @throws UsageError */
export function parseBoxes(given: Readonly<Record<string, unknown>>): Boxes {
  const fees = ((given['box-fee'] as string[] | undefined) ?? []).map(parseBoxFee)
  return {
    isServed: given['no-boxes'] !== true,
    isOpen: given['open-boxes'] === true,
    fees: Object.fromEntries(fees),
    pushWebhook: parseWebhook(given['push-webhook']),
  }
}

/** @throws UsageError */
export function parseBoxFee(text: string): [box: string, satoshi: number] {
  const [, box = '', satoshi] = /^(.+)=([0-9]{1,16})$/.exec(text) ?? []
  if (box === '' || Number(satoshi) > mostSatoshi)
    throw new UsageError('--box-fee takes BOX=SATOSHI with a whole number of satoshi')
  return [box, Number(satoshi)]
}

function parseWebhook(given: unknown): string | undefined {
  if (given === undefined) return undefined
  const url = URL.canParse(String(given)) ? new URL(String(given)) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new UsageError('--push-webhook takes an http or https URL without a password')
  return url.href
}
