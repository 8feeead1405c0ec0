/** How this program reaches others: by options of the command line, else by variables; empty ones say nothing. */
import { messageOf } from '../errors.ts'
import { Dialer, type DialerOptions } from '../wire/dialer.ts'
import { usageError } from './command.ts'

export interface DialValues {
  readonly proxy?: string | undefined
  readonly 'allow-private'?: boolean | undefined
}

/** @throws ERR_USAGE for what is no proxy */
export const dialOptions = (
  { proxy, 'allow-private': allowPrivate }: DialValues,
  env: Readonly<Record<string, string | undefined>>,
): DialerOptions => ({
  proxy: checked(proxy ?? (env.RELAY_PROXY || undefined)),
  allowPrivate: allowPrivate ?? (env.RELAY_ALLOW_PRIVATE || '0') !== '0',
})

function checked(proxy: string | undefined): string | undefined {
  try {
    new Dialer({ proxy })
    return proxy
  } catch (error) {
    throw usageError(messageOf(error))
  }
}
