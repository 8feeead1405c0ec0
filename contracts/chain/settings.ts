/** Which chain a program was last told to use: it is remembered in its folder, for its owner's eyes, since it may hold a password. */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { z } from 'zod'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { parseChain } from './open.ts'

export const ChainSettings = z.strictObject({
  /** As contracts/chain/open.ts reads it. */
  chain: z.string(),
  network: z.string().optional(),
  headers: z.string().optional(),
  /** Where the wallet's backup is kept. */
  backup: z.string().optional(),
})
export type ChainSettings = z.infer<typeof ChainSettings>

/** What options and variables say; empty ones say nothing. */
export type GivenSettings = { readonly [name in keyof ChainSettings]?: string | undefined }

/**
 * What is given, else what was remembered. A chain that is named replaces network and headers too: they belong to it.
 * Undefined when no chain was ever named. Nothing is remembered yet: what does not work out should not stand there the next
 * time.
 * @throws ERR_MALFORMED for what is no chain, or options that need one
 */
export async function settingsOf(file: string, given: GivenSettings): Promise<ChainSettings | undefined> {
  const before = await read(file)
  const { chain, network, headers, backup } = pruned(given)
  if (chain === undefined && before === undefined) {
    if (network ?? headers ?? backup)
      throw new MarketError('ERR_MALFORMED', '--network, --headers and --backup need --chain')
    return undefined
  }
  if (chain !== undefined) parseChain(chain)
  const base = chain === undefined ? before : { chain, backup: before?.backup }
  return ChainSettings.parse(pruned({ ...base, ...pruned({ network, headers, backup }) }))
}

/** For the next time, once they worked. */
export async function rememberSettings(file: string, settings: ChainSettings): Promise<void> {
  const before = await read(file)
  if (JSON.stringify(settings) !== JSON.stringify(before)) await write(file, settings)
}

const pruned = <T extends object>(settings: T): Partial<T> =>
  Object.fromEntries(
    Object.entries(settings).filter(([, value]) => value !== undefined && value !== ''),
  ) as Partial<T>

async function read(file: string): Promise<ChainSettings | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new MarketError('ERR_INTERNAL', `cannot read ${file}`, { cause: error })
  })
  if (text === undefined) return undefined
  try {
    return ChainSettings.parse(JSON.parse(text))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', `${file} is damaged: remove it and name the --chain again`, {
      cause,
    })
  }
}

async function write(file: string, settings: ChainSettings): Promise<void> {
  const temporary = `${file}.${toHex(randomBytes(8))}.tmp`
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(`${JSON.stringify(settings)}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } finally {
    await rm(temporary, { force: true })
  }
}
