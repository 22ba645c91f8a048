// Where the page's modules lie.
export const PAGE = new URL("../../src/dinoseg/serving/page/", import.meta.url);
