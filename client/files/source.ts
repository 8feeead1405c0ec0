/** The file being sent: it must stay what it was while its chunks are made. */
import type { FileHandle } from 'node:fs/promises'
import { ClientError } from '../errors.ts'
import type { Outgoing } from '../home/outgoing.ts'

/** @throws ERR_CHANGED when size or time are not those of the beginning */
export async function checkUnchanged(
  file: FileHandle,
  { source, size, modifiedMs }: Outgoing,
): Promise<void> {
  const now = await file.stat()
  if (now.size !== size || now.mtimeMs !== modifiedMs) {
    throw new ClientError(
      'ERR_CHANGED',
      `${source} changed since its sending began: delete that sending, then send it again`,
    )
  }
}

/** Exactly these bytes. @throws ERR_CHANGED when there are no longer so many */
export async function readAt(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.alloc(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, position + filled)
    if (bytesRead === 0) throw new ClientError('ERR_CHANGED', 'the file became shorter while it was read')
    filled += bytesRead
  }
  return buffer
}
