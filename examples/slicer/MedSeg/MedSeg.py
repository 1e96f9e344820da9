"""Segment the loaded volume with a model of medseg: a scripted module of 3D Slicer.

Add this folder under Edit, Application Settings, Modules, Additional module paths. For research use.
"""

import tempfile
from pathlib import Path

import ctk
import qt
import slicer
from MedSegLib.command import MedSegError, segment
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)


class MedSeg(ScriptedLoadableModule):
    """How 3D Slicer lists the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("medseg")
        self.parent.categories = [_("Segmentation")]
        self.parent.helpText = _("Segments the chosen volume with a trained model of medseg. For research use.")


class MedSegWidget(ScriptedLoadableModuleWidget):
    """The program, the model, the volume, and a button."""

    def setup(self):
        """Make the fields; the program and the model are remembered."""
        ScriptedLoadableModuleWidget.setup(self)
        form = qt.QFormLayout()
        self.layout.addLayout(form)
        self.program = self._path(form, "medseg", _("Program medseg"))
        self.model = self._path(form, "model", _("Model"))
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.addEnabled = self.volume.removeEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        form.addRow(_("Volume"), self.volume)
        self.button = qt.QPushButton(_("Segment"))
        self.button.connect("clicked(bool)", self.on_segment)
        form.addRow(self.button)
        self.progress = qt.QProgressBar()
        form.addRow(self.progress)
        self.status = qt.QLabel()
        self.status.wordWrap = True
        form.addRow(self.status)
        self.layout.addStretch(1)

    def _path(self, form, key, label):
        """Return a field for a path, whose last values are kept under a key of the settings."""
        field = ctk.ctkPathLineEdit()
        field.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Executable
        field.settingKey = f"MedSeg/{key}"
        form.addRow(label, field)
        return field

    def on_segment(self, checked=False):
        """Segment the chosen volume, and say what came of it."""
        self.button.enabled = False
        try:
            text = MedSegLogic().run(
                self.program.currentPath, self.model.currentPath, self.volume.currentNode(), self.show
            )
            self.program.addCurrentPathToHistory()
            self.model.addCurrentPathToHistory()
            self.status.text = text
        except MedSegError as error:
            self.status.text = str(error)
        finally:
            self.button.enabled = True

    def show(self, share, text):
        """Show how far it is, and keep the window alive."""
        self.progress.value = round(100 * share)
        self.status.text = text
        slicer.app.processEvents()


class MedSegLogic(ScriptedLoadableModuleLogic):
    """From a volume of the scene to a segmentation with names and colours."""

    def run(self, program, model, volume, report):
        """Segment a volume, add the segmentation to the scene, and return its volumes in words.

        Args:
            program: the program medseg.
            model: a package, a run's folder, or a model of nnU-Net.
            volume: the volume's node; None is refused.
            report: told how far it is, from 0 to 1, and of what.
        """
        if not program or not model or volume is None:
            raise MedSegError(_("Choose the program, a model and a volume."))
        with tempfile.TemporaryDirectory() as folder:
            scan = Path(folder, "scan.nii.gz")
            slicer.util.exportNode(volume, str(scan))
            environment = slicer.util.startupEnvironment()
            answer = segment(program, model, scan, Path(folder, "answer"), report, environment)
            segmentation = slicer.util.loadSegmentation(answer["file"])
        segmentation.SetName(f"{volume.GetName()} medseg")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentation.CreateClosedSurfaceRepresentation()
        sizes = [f"{name}: {size:g} {answer['unit']}" for name, size in answer["volumes"].items()]
        return "\n".join([*sizes, *answer["warnings"]])
