/** How this program reaches others: by options of the command line, else by variables; empty ones say nothing. */
import type { DialerOptions } from '../wire/dialer.ts'

export interface DialValues {
  readonly proxy?: string | undefined
  readonly 'allow-private'?: boolean | undefined
}

export const dialOptions = (
  { proxy, 'allow-private': allowPrivate }: DialValues,
  env: Readonly<Record<string, string | undefined>>,
): DialerOptions => ({
  proxy: proxy ?? (env.RELAY_PROXY || undefined),
  allowPrivate: allowPrivate ?? (env.RELAY_ALLOW_PRIVATE || '0') !== '0',
})
