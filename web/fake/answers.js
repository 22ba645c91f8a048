/**
 * @typedef {{method: string, path: string, query: URLSearchParams, body: Buffer, type: string}} Asked
 * @typedef {object} Answer
 * @property {(value: unknown, status?: number) => void} json
 * @property {(value: Uint8Array, type: string, more?: Record<string, string>) => void} bytes
 * @property {(status: number, detail: string, more?: Record<string, string>) => void} error
 * @property {() => {send: (value: unknown) => void, end: () => void, onClose: (run: () => void) => void}} events
 */
export {};
