/** The page: opens the device and joins the two forms to what they do. */
import { openDevice } from "vbon";
import { generateForm } from "./generate.mjs";
import { trainForm } from "./train.mjs";

const note = document.querySelector("#device");

/** Says in one sentence what is wrong; anything that is no message for a user also goes to the console. */
function complain(error) {
  note.textContent = error.message;
  note.classList.add("bad");
  console.error(error);
}

try {
  const device = await openDevice();
  note.textContent = `Running on ${device.name}${device.software ? ", in software: a GPU is much faster" : ""}.`;
  await Promise.all([generateForm(device), trainForm(device)]);
} catch (error) {
  complain(error);
}
