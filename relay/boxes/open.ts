/** What message boxes have beside their routes, opened with a relay. */
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import type { Core, Undo } from '../core.ts'
import { UsageError } from '../operator/usage.ts'
import { BoxNotices } from './notices.ts'

/** Hex of the bytes that notices are signed with. */
const secretFile = (data: string): string => join(data, 'push-webhook.secret')

/** Where `--push-webhook` names who is told. */
export async function openNotices(
  { data, boxes: { isServed, pushWebhook: url } }: Config,
  { store, now, log }: Core,
  undo: Undo,
): Promise<BoxNotices | undefined> {
  if (!isServed || url === undefined) return undefined
  const secret = await openSecret(secretFile(data))
  const onFailure = (reason: string) => log.warn({ reason }, 'notices for devices fail: see --push-webhook')
  const notices = new BoxNotices({ store, url, secret, now, onFailure })
  undo.push(() => notices.close())
  return notices
}

/** Made at first use. @throws UsageError for what is no secret */
async function openSecret(file: string): Promise<Uint8Array> {
  const made = randomBytes(32).toString('hex')
  await writeFile(file, `${made}\n`, { mode: 0o600, flag: 'wx', flush: true }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  })
  const text = (await readFile(file, 'utf8')).trim()
  if (!/^[0-9a-f]{64}$/.test(text)) throw new UsageError(`${file} must hold 64 characters of hex`)
  return Buffer.from(text, 'hex')
}
